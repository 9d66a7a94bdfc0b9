"""Fidelity of single tokens: clustered means and quantiles, differences, breakdowns."""
