"""Other tools run beside the package, and records of where they agree."""
