"""What a study is: its parameters, paths and provenance, the schemas of its tables and the registry of its results."""
