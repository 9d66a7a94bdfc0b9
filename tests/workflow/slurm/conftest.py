"""A real cluster of one node, started once a file and ended with it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from slurm_cluster import Cluster, cluster


@pytest.fixture(scope="module")
def real_cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """A cluster without accounts and GPUs, whose one partition, ``work``, is the default."""
    with cluster(tmp_path_factory.mktemp("slurm") / "cluster") as made:
        yield made


@pytest.fixture
def site_file(tmp_path: Path) -> Path:
    """A site whose jobs have one core each, so that a machine of two runs two of them."""
    file = tmp_path / "site.yaml"
    file.write_text("threads: 1\n")
    return file
