"""Price tables as JSON:

    {"source": "…", "nanoseconds": {"border": {"element": 0.3, …}, "Conv": {"float": {…}, "int8": {…}}, …}}

where a rate has the fields of `Rate`; those that are left out are 0.
"""

import json
import os
from dataclasses import asdict, fields
from math import isfinite
from pathlib import Path
from typing import Any

from ..errors import RequantError
from ..ir.destination import appearing
from .prices import BORDER, DYNAMIC_PRODUCT, KERNELS, PRODUCT, Prices, Rate, Rates

_FIELDS = tuple(field.name for field in fields(Rate))
_FLOAT, _INT8 = "float", "int8"

PathLike = str | os.PathLike[str]


def to_dict(prices: Prices) -> dict[str, Any]:  # JSON: values of any plain type
    """Return the table as plain dictionaries and numbers."""
    kernels = {
        name: {_FLOAT: asdict(rates.in_float), _INT8: asdict(rates.in_integers)}
        for name, rates in prices.kernels.items()
    }
    return {"source": prices.source, "nanoseconds": {BORDER: asdict(prices.border), **kernels}}


def save_prices(prices: Prices, path: PathLike) -> None:
    """Write the table, whole or not at all.

    Raises:
        OutputError: it cannot be written.
    """
    with appearing(Path(path)) as temporary:
        temporary.write_text(json.dumps(to_dict(prices), indent=2) + "\n", encoding="utf-8")


def read_prices(path: PathLike) -> Prices:
    """Read a table that `requant.measure_prices` wrote.

    Raises:
        RequantError: it cannot be read, is no such table, or lacks a kernel.
    """
    name = os.fspath(path)
    try:
        content = json.loads(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise RequantError(f"{name}: {error.strerror or error}") from error
    except ValueError as error:
        raise RequantError(f"{name}: no price table, which is JSON ({error})") from error
    try:
        return _prices(content)
    except RequantError as error:
        raise RequantError(f"{name}: {error}") from error


def _prices(content: Any) -> Prices:  # JSON: values of any plain type
    source, table = _entries(content, "the file", ("source", "nanoseconds"))
    known = (BORDER, *KERNELS)
    border, *kernels = _entries(table, "nanoseconds", known)
    pairs = [_entries(entry, kernel, (_FLOAT, _INT8)) for kernel, entry in zip(KERNELS, kernels, strict=True)]
    rates = {
        kernel: Rates(_rate(in_float, f"{kernel}, {_FLOAT}"), _rate(in_integers, f"{kernel}, {_INT8}"))
        for kernel, (in_float, in_integers) in zip(KERNELS, pairs, strict=True)
    }
    for product in (PRODUCT, DYNAMIC_PRODUCT):
        if not (rates[product].in_integers.multiplication and rates[product].in_float.multiplication):
            raise RequantError(f"{product}: a multiplication takes no time")
    return Prices(str(source), rates, _rate(border, BORDER))


def _entries(content: Any, what: str, names: tuple[str, ...]) -> list[Any]:  # JSON: values of any plain type
    """Return the entries of ``content``, which has these ``names`` and no others."""
    if not isinstance(content, dict):
        raise RequantError(f"{what} is no JSON object")
    if unknown := [name for name in content if name not in names]:
        raise RequantError(f"{what} has {unknown[0]!r}, which is none of {', '.join(names)}")
    if missing := [name for name in names if name not in content]:
        raise RequantError(f"{what} has no {', '.join(missing)}: measure it with requant prices")
    return [content[name] for name in names]


def _rate(content: Any, what: str) -> Rate:  # JSON: values of any plain type
    complete = {**dict.fromkeys(_FIELDS, 0.0), **content} if isinstance(content, dict) else content
    numbers = _entries(complete, what, _FIELDS)
    for field, number in zip(_FIELDS, numbers, strict=True):
        if isinstance(number, bool) or not isinstance(number, int | float) or not isfinite(number) or number < 0:
            raise RequantError(f"{what}, {field}: {number!r} is no number of nanoseconds")
    return Rate(*map(float, numbers))
