"""The zone near the baseline: its rules, its curve, its edge."""
