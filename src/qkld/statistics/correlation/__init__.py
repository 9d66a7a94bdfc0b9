"""Correlations of a fidelity metric with a score: single, partial, compared, simultaneous."""
