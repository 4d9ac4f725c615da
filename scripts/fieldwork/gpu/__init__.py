"""Nuclei found with a GPU: one process of a job holds it, and the workers of the job send it images."""
