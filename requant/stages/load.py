"""The first stage: read the model, and refuse before any work what cannot be written or computed."""

from ..ir.load import describe, load
from ..ir.names import separate_nodes, separate_values
from ..ir.validate import refuse_nan, stored_bytes
from ..outputs import files, refuse_overwrite
from ..report import Report
from .job import Job


def load_model(job: Job) -> None:
    """Load the original, and begin the report.

    Raises:
        SourceError: the model cannot be read, or holds NaN.
        OutputError: an output would overwrite what was read.
    """
    with job.times("load"):
        job.original = load(job.source)
        separate_nodes(job.original)
        separate_values(job.original)
        inputs = files(job.source, job.original, job.calibration, job.evaluation)
        refuse_overwrite(inputs, job.output, job.report_file)
        refuse_nan(job.original, describe(job.source))
    lowering = job.lowering
    job.report = Report(describe(job.source), job.recipe.name, lowering.target, inputs=inputs)
    if lowering.prices is not None:
        job.report.notes.append(f"priced by {lowering.prices.source}")
    job.report.bytes_before = job.report.bytes_after = stored_bytes(job.original)
