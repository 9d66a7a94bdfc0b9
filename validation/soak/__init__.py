"""Faults, counted: a study that is killed, runs out of disk, is started twice, and whose files lose single bits."""
