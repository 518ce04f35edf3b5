"""The second stage: bring the model into canonical form, and see whether it has anything to quantize."""

from collections.abc import Iterator
from itertools import chain

from ..errors import RequantError
from ..ir.canonical.canonicalize import canonicalize
from ..ir.float_types import remember_types, to_float32
from ..ir.linear import find_linears
from ..ir.load import describe
from ..ir.names import remember_names
from ..ir.recurrent import find_recurrent
from ..ir.shapes.infer import InferShapes
from ..ir.unsupported import no_layers
from ..passes.layer_records import enclosed_layers
from ..passes.select_layers import unmatched
from ..passes.unplanned_layers import unplanned_layers
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
        attention_opset = job.attention.opset if job.attention is not None else 0
        canonicalize(job.model, max(job.recipe.opset, attention_opset), finish=job.completes)
        remember_types(job.model.graph, types)
        remember_names(job.original, job.model)
    job.lowering = job.lowering.resolved(job.model)
    job.report.precision = str(job.lowering.precision)
    if not _has_layers(job):
        layers = job.report.layers = [*unplanned_layers(job.model).values(), *enclosed_layers(job.model)]
        is_done = bool(layers) and all(layer.quantized for layer in layers)
        reason = "every layer is quantized already" if is_done else no_layers(layer.reason for layer in layers)
        job.finish(f"nothing to quantize: {reason}")
        return
    if names := unmatched(job.model, job.keep):
        raise RequantError(f"{describe(job.source)}: no linear layer is called {names[0]!r}, which keep asks for")
    if infer_types(job.model):
        InferShapes()(job.model)


def _has_layers(job: Job) -> bool:
    """Tell whether the model has a layer that some engine may quantize, by the recipe."""
    layers: list[Iterator[object]] = [find_linears(job.model.graph)]
    if any(candidate.dynamic for candidate in job.recipe.formats):
        layers.append(find_recurrent(job.model.graph))
    return any(True for _ in chain.from_iterable(layers))
