"""The last stage, where it is asked for: build the engine, and compare its kernels with those of the float model."""

from dataclasses import replace
from itertools import islice

from ..baseline import half_precision, reference_type
from ..check_build import compare_builds
from ..errors import BuildError
from ..runtime.profiles import Profiles
from ..runtime.targets import target as find_target
from .job import Job


def build_artifact(job: Job) -> None:
    """Keep in the report what the builder makes of the artifact, or why it makes nothing.

    An input without a profile has the shape that it has in the first sample of the calibration data.

    Raises:
        TargetError: the builder is not there, or an input has no shape.
    """
    if job.build is None:
        return
    target = job.lowering.target
    with job.times("build"):
        options = replace(job.build, profiles={**_first_shapes(job), **job.build.profiles})
        row = find_target(target)
        half = reference_type(row) == "float16"
        baseline = half_precision(job.reference, row) if half else job.float_model
        try:
            job.report.build = compare_builds(job.artifact, baseline, target, options)
        except BuildError as error:
            job.report.notes.append(f"not built: {error}")


def _first_shapes(job: Job) -> Profiles:
    feed = next(islice(job.parts.training, 1), {})
    return {name: (array.shape,) * 3 for name, array in feed.items()}
