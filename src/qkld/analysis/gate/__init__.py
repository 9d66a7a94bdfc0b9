"""``qkld gate``: whether a quant keeps within thresholds, as an exit status for continuous integration."""
