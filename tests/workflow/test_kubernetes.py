"""Kubernetes without a cluster: manifests and submitted jobs held to its schema, and the image's file linted."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import kubernetes_validate
import pytest
import yaml
from conftest import REPOSITORY, Place
from kubernetes_api import recording_api

from qkld.study.params import load_params
from qkld.workflow.rules import memory_mb

PROFILE = REPOSITORY / "workflow" / "profiles" / "kubernetes"
VERSIONS = ("1.29.0", "1.37.0")
"""The oldest and the newest version of Kubernetes that manifests are held to."""

MANIFESTS = {
    f"{m['kind']} {m['metadata']['name']}": m for m in yaml.safe_load_all((PROFILE / "cluster.yaml").read_text())
}


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("name", MANIFESTS)
def test_every_manifest_is_as_kubernetes_wants_it(name, version):
    kubernetes_validate.validate(MANIFESTS[name], version, strict=True)


def test_the_schema_refuses_a_misspelt_key():
    wrong = {**MANIFESTS["PersistentVolumeClaim qkld"], "specc": {}}
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(wrong, VERSIONS[-1], strict=True)


def test_manifests_and_profile_name_one_image_one_volume_and_the_same_variables():
    settings = yaml.safe_load((PROFILE / "config.yaml").read_text())
    (container,) = MANIFESTS["Job qkld-run"]["spec"]["template"]["spec"]["containers"]
    assert container["image"] == settings["container-image"]
    assert {variable["name"] for variable in container["env"]} == set(settings["envvars"])
    claim, mount = settings["kubernetes-persistent-volumes"].split(":")
    assert f"PersistentVolumeClaim {claim}" in MANIFESTS
    assert [(m["name"], m["mountPath"]) for m in container["volumeMounts"]] == [(claim, mount)]


def test_the_images_file_has_no_fault_that_hadolint_knows():
    hadolint = Path(sys.executable).with_name("hadolint")
    done = subprocess.run([hadolint, REPOSITORY / "Containerfile"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


@pytest.mark.pipeline
def test_the_jobs_that_a_run_submits_are_as_kubernetes_wants_them(project: Place, tmp_path: Path):
    """The executor's own objects, one of them with a GPU, as a server on this machine receives them; no pod runs."""
    if shutil.which("rsync") is None:
        pytest.skip("the storage of Snakemake's Kubernetes jobs needs rsync")
    more = ["--default-storage-prefix", str(tmp_path / "storage"), "--seconds-between-status-checks", "1"]
    more += ["--set-resources", "reference_corpora:gpu=1", "reference_corpora:gpu_manufacturer='nvidia'"]
    with recording_api() as api:
        kube = {"KUBECONFIG": str(api.configuration(tmp_path / "kubeconfig")), "QKLD_DATA": os.environ["QKLD_DATA"]}
        done = project.qkld("run", "smoke", "--profile", "kubernetes", "--", *more, more=kube)
    assert done.returncode == 1, done.stdout + done.stderr
    jobs = [body for kind, body in api.sent if kind == "jobs"]
    assert len(jobs) == 2, done.stdout + done.stderr
    memory = f"{memory_mb(load_params('smoke'), 'reference_corpora')}M"
    for job in jobs:
        kubernetes_validate.validate({"apiVersion": "batch/v1", "kind": "Job", **job}, VERSIONS[-1])
        (container,) = job["spec"]["template"]["spec"]["containers"]
        asked, limits = container["resources"]["requests"], container["resources"]["limits"]
        assert asked["memory"] == limits["memory"] == memory
        assert asked.get("nvidia.com/gpu") == limits.get("nvidia.com/gpu")
    assert sum("nvidia.com/gpu" in str(job["spec"]["template"]["spec"]["containers"]) for job in jobs) == 1
