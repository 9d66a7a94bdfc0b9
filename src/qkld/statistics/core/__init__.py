"""What every statistic rests on: checks, resampling, intervals, permutations, clusters."""
