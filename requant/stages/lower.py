"""The sixth stage: write the plan for the engine, as Q/DQ pairs or as its own ops."""

import onnx_ir as ir

from ..ir.channels.embedding import as_embedding
from ..ir.validate import stored_bytes
from ..passes.annotations import layer_records, precision_records, site_records
from ..passes.parallel import one_blas_thread
from ..runtime.session import require_loadable
from .job import Job

_NOTABLE_BYTES, _NOTABLE_SHARE = 2**20, 0.1
"""The size of embedding tables, also as a share of the artifact, from which on a note says that they are in float."""


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
    report.notes += [
        f"layer {layer.name!r} has a scale for each channel: {layer.note}" for layer in report.layers if layer.note
    ]
    if any(layer.planned for layer in report.layers):
        report.bytes_after = stored_bytes(job.artifact)
        report.notes += _tables(job.artifact.graph, report.bytes_after)
        return
    reasons = dict.fromkeys(layer.reason for layer in report.layers if not layer.quantized)
    job.finish(f"nothing to quantize: every linear layer stays in float on {target} ({'; '.join(reasons)})")


def _tables(graph: ir.Graph, total: int) -> list[str]:
    """Note the embedding tables that are a large part of the artifact of ``total`` bytes."""
    embeddings = [embedding for node in graph if (embedding := as_embedding(node)) is not None]
    tensors = [table.const_value for table in {embedding.table: None for embedding in embeddings}]
    size = sum(tensor.nbytes for tensor in tensors if tensor is not None)
    if size < max(_NOTABLE_BYTES, _NOTABLE_SHARE * total):
        return []
    return [f"embedding tables stay in float, {size / 1e6:.1f} of {total / 1e6:.1f} MB: no layer multiplies by them"]
