"""Profiles of dynamic shapes: the smallest, the usual and the largest that an engine is built for."""

from collections.abc import Mapping, Sequence

import onnx_ir as ir

from ..errors import TargetError

Profiles = Mapping[str, tuple[Sequence[int], Sequence[int], Sequence[int]]]
"""By input: the smallest shape, the one to be fastest at, and the largest."""

BOUNDS = ("min", "opt", "max")


def require_profiles(model: ir.Model, profiles: Profiles) -> None:
    """Require that each dynamic input has shapes, and that they fit.

    Raises:
        TargetError: an input has none, or they do not fit it; the text names the input.
    """
    inputs = {value.name or "": value for value in model.graph.inputs}
    if surplus := sorted(profiles.keys() - inputs.keys()):
        raise TargetError(f"profiles: the model has no input {surplus[0]!r}; it has {', '.join(inputs)}")
    for name, value in inputs.items():
        dims = tuple(value.shape or ())
        shape = "x".join(str(dim) for dim in dims)
        if name not in profiles and not all(isinstance(dim, int) for dim in dims):
            raise TargetError(f"input {name!r} of shape {shape} is dynamic: give profiles of it, (min, opt, max)")
        if name in profiles and not _fit(dims, profiles[name]):
            raise TargetError(
                f"profiles: {name!r}: {profiles[name]} are not three shapes from small to large of {shape}"
            )


def usual_shapes(profiles: Profiles) -> dict[str, Sequence[int]]:
    """Return the shape of each input that is to be fastest."""
    return {name: shapes[BOUNDS.index("opt")] for name, shapes in profiles.items()}


def _fit(dims: Sequence[object], shapes: Sequence[Sequence[int]]) -> bool:
    if len(shapes) != len(BOUNDS) or any(len(shape) != len(dims) for shape in shapes):
        return False
    return all(
        low <= usual <= high and (not isinstance(dim, int) or low == high == dim)
        for dim, low, usual, high in zip(dims, *shapes, strict=True)
    )
