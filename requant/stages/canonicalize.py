"""The second stage: bring the model into canonical form, and see whether it has anything to quantize."""

from ..errors import RequantError
from ..ir.canonical.canonicalize import canonicalize
from ..ir.float_types import remember_types, to_float32
from ..ir.linear import find_linears, no_layers
from ..ir.load import describe
from ..ir.names import remember_names
from ..ir.shapes.infer import InferShapes
from ..passes.insert_qdq import enclosed_layers, quantized_layers
from ..passes.select_layers import unmatched
from ..runtime.ort.infer_types import infer_types
from .job import Job


def canonicalize_model(job: Job) -> None:
    """Make the canonical copy of the original; a model without linear layers finishes the job.

    Raises:
        RequantError: ``keep`` names no layer.
    """
    with job.times("analyse"):
        job.float_model = job.original.clone()
        types = to_float32(job.float_model)
        job.model = job.float_model.clone()
        canonicalize(job.model, job.recipe.opset, finish=job.completes)
        remember_types(job.model.graph, types)
        remember_names(job.original, job.model)
    job.lowering = job.lowering.resolved(job.model)
    job.report.precision = str(job.lowering.precision)
    if not any(True for _ in find_linears(job.model.graph)):
        enclosed, quantized = list(enclosed_layers(job.model)), list(quantized_layers(job.model))
        job.report.layers = [*quantized, *enclosed]
        where = " outside of the bodies of If and Loop" if enclosed else ""
        reason = "every layer is quantized already" if quantized else no_layers(job.model.graph)
        job.finish(f"nothing to quantize: {reason}{where}")
        return
    if names := unmatched(job.model, job.keep):
        raise RequantError(f"{describe(job.source)}: no linear layer is called {names[0]!r}, which keep asks for")
    if infer_types(job.model):
        InferShapes()(job.model)
