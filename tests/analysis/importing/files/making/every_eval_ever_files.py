"""Samples of ``lm-eval`` by every_eval_ever's own converter: ``every_eval_ever_files.py lm-eval OUT``."""

from __future__ import annotations

import hashlib
import sys
import uuid
from pathlib import Path

from every_eval_ever.converters.lm_eval.instance_level_adapter import LMEvalInstanceLevelAdapter

root, out = map(Path, sys.argv[1:])
for folder in sorted(path for path in root.iterdir() if path.is_dir()):
    for file in sorted(folder.glob("samples_*")):
        task = file.name.removeprefix("samples_").rpartition("_")[0]
        model = f"own/{folder.name}"
        name = uuid.UUID(bytes=hashlib.sha256(f"{file.name}{model}".encode()).digest()[:16], version=4)
        place = out / "data" / task / "own" / folder.name
        LMEvalInstanceLevelAdapter().transform_and_save(
            file, f"{task}/{model}/0", model, task, output_dir=place, file_uuid=str(name), collection=task
        )
