"""Builders of what the package index does not have ready, and the lock file's writer."""
