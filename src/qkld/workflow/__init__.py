"""Plan, run and command line: what carries a study from its YAML file to its figures."""
