"""Padding and rotating a reference without changing its function."""
