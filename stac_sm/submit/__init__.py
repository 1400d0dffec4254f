"""Submit: a plan as an array job of a batch system, sized from the plan; sent once, however often it is asked for.

Every slice of the array runs ``stac-sm run PLAN --slice i/n``; which slice it is, it reads from its batch system.
"""

from stac_sm.submit.job import ArrayJob, Submitted, array_job

__all__ = ["ArrayJob", "Submitted", "array_job"]
