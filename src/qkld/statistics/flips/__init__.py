"""Volume and direction of flips, and the decisions on single quants."""
