"""Answers that models write: greedy or sampled, equal for every batch, and kept one by one."""

from qkld.benchmarks.writing.answer_files import kept_answers
from qkld.benchmarks.writing.batched_writing import write_answers
from qkld.benchmarks.writing.prompts import Prompt, Sampling, Written

__all__ = ["Prompt", "Sampling", "Written", "kept_answers", "write_answers"]
