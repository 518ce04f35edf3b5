"""The stages of `requant.optimize`, in order, over one job."""

from .calibrate import calibrate
from .canonicalize import canonicalize_model
from .job import Job
from .load import load_model
from .lower import lower
from .measure import measure
from .plan import plan

STAGES = (load_model, canonicalize_model, calibrate, plan, lower, measure)
"""Each takes the job and leaves in it what the next ones need; a job that is finished skips the rest."""

__all__ = ["STAGES", "Job", "calibrate", "canonicalize_model", "load_model", "lower", "measure", "plan"]
