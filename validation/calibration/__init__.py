"""Calibration: how often this package's statistics are wrong in worlds whose truth is known (``make calibrate``)."""
