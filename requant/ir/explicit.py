"""A basis for a value that nothing upstream can re-base.

    X' = X · (1/d) + (-t/d)

computed by a Mul and an Add for the linear readers alone. It is always exact; it costs the two nodes.
"""

from collections.abc import Iterable, Iterator

import numpy as np
import onnx_ir as ir

from .linear import Linear, find_linears
from .sites import Reader, Refused, Site, conflict


def find_explicit(model: ir.Model, covered: Iterable[Site]) -> Iterator[Site | Refused]:
    """A site without norms for each value that linears outside of the ``covered`` sites read, in graph order."""
    fed = {reader.linear.node for site in covered for reader in site.readers}
    reading: dict[ir.Value, list[Linear]] = {}
    for linear in find_linears(model.graph):
        if linear.node not in fed:
            reading.setdefault(linear.data, []).append(linear)
    for value, linears in reading.items():
        padded = next((linear.name for linear in linears if linear.padded), None)
        site = Site(
            norms=(),
            readers=tuple(Reader(linear, np.arange(linear.inputs)) for linear in linears),
            restored=(),
            fixed_shift=f"{padded!r} pads its input with zeros" if padded else None,
        )
        along = {(linear.data_axis, linear.inputs) for linear in linears}
        reason = conflict(site) if len(along) == 1 else "layers read it along different axes"
        yield Refused(site.kind, value.name or "?", reason) if reason else site
