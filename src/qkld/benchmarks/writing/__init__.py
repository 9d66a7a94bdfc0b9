"""Answers that models write: greedy or sampled, equal for every batch, and kept one by one."""

from qkld.benchmarks.writing.keeping import kept_answers
from qkld.benchmarks.writing.prompts import Prompt, Sampling, Written
from qkld.benchmarks.writing.writing import write_answers

__all__ = ["Prompt", "Sampling", "Written", "kept_answers", "write_answers"]
