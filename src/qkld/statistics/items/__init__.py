"""Scores of items: answers, their noise and its covariance, differences, sample sizes."""
