"""Benchmarks through lm-evaluation-harness: its tasks, prompts and metrics; our model answers and keeps divergences."""

from qkld.benchmarks.recording import record_benchmarks
from qkld.benchmarks.scores import score_benchmarks

__all__ = ["record_benchmarks", "score_benchmarks"]
