"""Replicate builds: how far scores lie apart at equal displacement, between recipes and between their builds."""
