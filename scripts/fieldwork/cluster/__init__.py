"""Jobs on a cluster: why they fail, and what Slurm does with those that it stops."""
