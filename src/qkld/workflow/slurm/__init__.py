"""SLURM clusters: what a site sets, what each job asks for, what the cluster says of it, and why a job failed."""
