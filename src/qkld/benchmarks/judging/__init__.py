"""What the task families need beside lm-evaluation-harness: their own checkers, environments and language data."""
