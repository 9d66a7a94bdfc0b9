"""Checks of the package that are no part of it: calibration by simulation, speed and memory, other tools beside it."""
