"""The fifth stage: write the plan for the engine, as Q/DQ pairs or as its own ops."""

from ..ir.validate import stored_bytes
from ..passes.annotations import layer_records, precision_records, site_records
from ..passes.parallel import one_blas_thread
from ..runtime.session import require_loadable
from .job import Job


def lower_plan(job: Job) -> None:
    """Make the artifact, and record what became of each layer; without any in int8 the original is the artifact.

    Raises:
        TargetError: this machine's engine does not load the artifact.
    """
    report, target = job.report, job.lowering.target
    with job.times("lower"), one_blas_thread():
        job.artifact = job.lowering.apply(job.model, report)
        require_loadable(job.artifact, target)
    report.sites, report.layers = list(site_records(job.model)), list(layer_records(job.artifact))
    report.wide = list(precision_records(job.artifact))
    if any(layer.planned for layer in report.layers):
        report.bytes_after = stored_bytes(job.artifact)
        return
    reasons = dict.fromkeys(layer.reason for layer in report.layers if not layer.quantized)
    job.finish(f"nothing to quantize: every linear layer stays in float on {target} ({'; '.join(reasons)})")
