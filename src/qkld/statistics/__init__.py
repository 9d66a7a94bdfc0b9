"""Statistics of a study: numpy, scipy, pandas, statsmodels and pingouin only, so that they run where torch is not."""
