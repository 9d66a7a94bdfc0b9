"""Benchmarks through lm-evaluation-harness: its tasks, prompts and metrics; our model answers and keeps divergences."""
