"""A plan as an array job: AWS Batch, Slurm, Kubernetes or a Dask cluster.

`job` holds what all have in common; one module a scheduler writes and sends its job. Each task of the array calls
``stac-sm run`` with its slice of the plan.
"""
