"""Submission of a plan as an array job: to AWS Batch, Slurm, Kubernetes or a Dask cluster.

`submit` is what a command calls. `job` holds what all batch systems have in common; one module a scheduler writes and
sends its job. Each task of the array calls ``stac-sm run`` with its slice of the plan.
"""
