"""The stages of `requant.optimize`, in order, over one job."""

from .attention import choose_attention
from .build import build_artifact
from .calibrate import calibrate_model
from .canonicalize import canonicalize_model
from .float_layers import leave_noisy_layers
from .gain import refuse_small_gain
from .job import Job
from .keep_costliest import keep_costliest_layers
from .limit import meet_limits
from .load import load_model
from .lone_layer import leave_lone_layer
from .lower import lower_plan
from .measure import measure_artifact
from .plan import choose_plan

MEASURING = (load_model, canonicalize_model, calibrate_model, choose_plan)
"""The stages up to a plan that nothing is left out of."""

PLANNING = (*MEASURING, choose_attention, keep_costliest_layers)
"""The stages up to the plan that limits begin with."""

LIMITING = (
    leave_noisy_layers,
    refuse_small_gain,
    leave_lone_layer,
    meet_limits,
    lower_plan,
    measure_artifact,
    build_artifact,
)
"""The stages from there to a measured artifact within the limits of the call.

Each stage takes the job and leaves in it what the next ones need; a job that is finished skips the rest.
"""

__all__ = ["LIMITING", "MEASURING", "PLANNING", "Job"]
