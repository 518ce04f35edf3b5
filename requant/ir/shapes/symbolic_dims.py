"""Arithmetic of dimensions, some of which are names: 4 · batch · 8 / 8 = 4*batch.

A dimension is a number, a name, a product of both such as "4*batch", or None where it is unknown.
"""

import re
from collections import Counter
from collections.abc import Iterable
from itertools import zip_longest
from math import prod
from typing import TypeAlias

import onnx_ir as ir

Dim: TypeAlias = int | str | None

_PRODUCT = re.compile(r"[^\s()+\-*/%,]+(\s*\*\s*[^\s()+\-*/%,]+)+")


def dimensions(shape: ir.Shape) -> list[Dim]:
    """List the dimensions of ``shape`` as numbers and names."""
    return [dim if isinstance(dim, int) else dim.value for dim in shape]


def factors(dim: int | str) -> tuple[int, Counter[str]]:
    """Factor ``dim`` into a number and names; a sum counts as one name."""
    if isinstance(dim, int):
        return dim, Counter()
    parts = [part.strip() for part in dim.split("*")] if _PRODUCT.fullmatch(dim) else [dim]
    return prod(int(part) for part in parts if part.isdigit()), Counter(part for part in parts if not part.isdigit())


def product(dims: Iterable[Dim]) -> Dim:
    """Multiply ``dims``; None when one of them is unknown."""
    return quotient(dims, ())


def quotient(dims: Iterable[Dim], divisors: Iterable[Dim]) -> Dim:
    """Divide the product of ``dims`` by that of ``divisors``; None when it is unknown or not an integer."""
    number, names = _collect(dims)
    divisor, cancelled = _collect(divisors)
    if number < 1 or divisor < 1 or number % divisor or names is None or cancelled is None or cancelled - names:
        return None
    return _join(number // divisor, names - cancelled)


def broadcast(*shapes: list[Dim]) -> list[Dim]:
    """Broadcast ``shapes`` together; a dimension is None where it is unknown."""
    aligned = zip_longest(*(shape[::-1] for shape in shapes), fillvalue=1)
    return [_common(dims) for dims in aligned][::-1]


def _common(dims: Iterable[Dim]) -> Dim:
    """Broadcast ``dims`` of one axis: a number above 1 decides, else all that are not 1 must be one name."""
    sizes = {dim for dim in dims if dim != 1}
    numbers = {dim for dim in sizes if isinstance(dim, int)}
    if len(numbers or sizes) == 1:
        return (numbers or sizes).pop()
    return None if sizes else 1


def _collect(dims: Iterable[Dim]) -> tuple[int, Counter[str] | None]:
    number, names = 1, Counter[str]()
    for dim in dims:
        if dim is None:
            return number, None
        factor, dim_names = factors(dim)
        number, names = number * factor, names + dim_names
    return number, names


def _join(number: int, names: Counter[str]) -> Dim:
    parts = [*([str(number)] if number != 1 else []), *sorted(names.elements())]
    if not names:
        return number
    if len(parts) > 1 and any(not _PRODUCT.fullmatch(f"{name}*{name}") for name in names):
        return None  # a sum cannot be in a product without brackets
    return "*".join(parts)
