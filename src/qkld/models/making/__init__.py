"""Making GGUF cohorts from one model, by llama.cpp's own quantize call, with or without an importance matrix."""

from qkld.models.making.gguf import Made, equal_tensors, quantize_file
from qkld.models.making.importance import importance_of
from qkld.models.making.importance_files import read_importance, write_importance
from qkld.models.making.study_files import make_study_files

__all__ = [
    "Made",
    "equal_tensors",
    "importance_of",
    "make_study_files",
    "quantize_file",
    "read_importance",
    "write_importance",
]
