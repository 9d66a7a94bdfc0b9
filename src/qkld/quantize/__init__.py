"""Making GGUF cohorts from one model, by llama.cpp's own quantize call, with or without an importance matrix."""

from qkld.quantize.importance import importance_of
from qkld.quantize.importance_files import read_importance, write_importance
from qkld.quantize.making import Made, equal_tensors, quantize_file
from qkld.quantize.study_files import make_study_files

__all__ = [
    "Made",
    "equal_tensors",
    "importance_of",
    "make_study_files",
    "quantize_file",
    "read_importance",
    "write_importance",
]
