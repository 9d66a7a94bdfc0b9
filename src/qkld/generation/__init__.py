"""Answers that models write: greedy or sampled, equal for every batch, and kept one by one."""

from qkld.generation.keeping import kept_answers
from qkld.generation.prompts import Prompt, Sampling, Written
from qkld.generation.writing import write_answers

__all__ = ["Prompt", "Sampling", "Written", "kept_answers", "write_answers"]
