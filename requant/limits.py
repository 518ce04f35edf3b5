"""Limits of a plan: what a call allows it to lose and to cost."""

import math
import re
from dataclasses import dataclass

from .choices import require_decibels
from .errors import RequantError

_SIZE = re.compile(r"\s*(\d+(?:\.\d*)?)\s*([kmg]?)(i?)b?\s*", re.IGNORECASE)
"""A number of bytes, with a unit of powers of 1000, or of 1024 as in MiB."""

_POWERS = {"": 0, "k": 1, "m": 2, "g": 3}


@dataclass(frozen=True)
class Limits:
    """What a call allows a plan to lose and to cost; None is no limit.

    Attributes:
        min_sqnr: the least SQNR of each output, in dB.
        max_drop: the most by which the metric may be below that of the float model, in the metric's own unit.
        max_latency: the most milliseconds that the prices of the engine estimate.
        max_share: the same limit as a share of what they estimate for the float model, from 0 to 1.
        max_bytes: the most bytes of all stored tensors of the artifact.
    """

    min_sqnr: float | None = None
    max_drop: float | None = None
    max_latency: float | None = None
    max_share: float | None = None
    max_bytes: int | None = None

    @property
    def of_loss(self) -> bool:
        """True where a limit is of the loss: what is wanted is the cheapest plan within it."""
        return self.min_sqnr is not None or self.max_drop is not None

    @property
    def of_latency(self) -> bool:
        """True where the estimated time has a limit."""
        return self.max_latency is not None or self.max_share is not None

    @property
    def of_cost(self) -> bool:
        """True where a limit is of time or bytes; without one of the loss, what is wanted is the plan of least loss."""
        return self.of_latency or self.max_bytes is not None

    @property
    def words(self) -> dict[str, str]:
        """Each limit as a caller writes it, by the caller's name of it."""
        latency = f"{self.max_latency:g}" if self.max_latency is not None else f"{100 * (self.max_share or 0):g}%"
        pairs = {
            "min_sqnr": "" if self.min_sqnr is None else f"{self.min_sqnr:g}",
            "max_drop": "" if self.max_drop is None else f"{self.max_drop:g}",
            "max_latency": latency if self.of_latency else "",
            "max_bytes": "" if self.max_bytes is None else str(self.max_bytes),
        }
        return {name: f"{name}={value}" for name, value in pairs.items() if value}

    def __str__(self) -> str:
        """Return all limits in words."""
        return ", ".join(self.words.values())

    def __bool__(self) -> bool:
        """Tell whether there is any limit."""
        return self.of_loss or self.of_cost


NO_LIMITS = Limits()


@dataclass(frozen=True)
class LimitRecord:
    """What a plan reached of what a call may limit.

    Attributes:
        name: of the parameter of `requant.optimize`.
        limit: what the call asks for; None where it asks for nothing.
        value: what was measured on the samples that judge, or, of latency, estimated.
        bound: the least SQNR, or the largest drop, with 95 % confidence; None where samples are too few, or of a cost.
        unit: of the numbers.
        words: the same for people.
    """

    name: str
    limit: float | None
    value: float
    bound: float | None
    unit: str
    words: str


def parsed_limits(
    *,
    min_sqnr: object = None,
    max_drop: object = None,
    max_latency: object = None,
    max_bytes: object = None,
) -> Limits:
    """Return the limits that a caller asks for, by numbers or by text such as "60%" and "50MB".

    Raises:
        RequantError: one of them is no such number.
    """
    is_share = isinstance(max_latency, str) and max_latency.strip().endswith("%")
    return Limits(
        require_decibels("min_sqnr", min_sqnr),
        _number("max_drop", max_drop, "a number from 0 on, in the unit of the metric", zero=True),
        None if is_share else _number("max_latency", max_latency, 'milliseconds above 0, or a share such as "60%"'),
        _share(str(max_latency)) if is_share else None,
        _bytes(max_bytes),
    )


def _number(name: str, value: object, what: str, *, zero: bool = False) -> float | None:
    if value is None:
        return None
    number = _parsed(value)
    if number is None or not (number > 0 or (zero and number == 0)) or number == math.inf:
        raise RequantError(f"{name} takes {what}, not {value!r}")
    return number


def _parsed(value: object) -> float | None:
    """Return the number that ``value`` is, or that its text says."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        return float(value)
    except (ValueError, OverflowError):
        return None


def _share(text: str) -> float:
    number = _parsed(text.strip().removesuffix("%"))
    if number is None or not 0 < number <= 100:
        raise RequantError(f"max_latency takes a share of the float model's time up to 100%, not {text!r}")
    return number / 100


def _bytes(value: object) -> int | None:
    if value is None:
        return None
    match = _SIZE.fullmatch(value) if isinstance(value, str) else None
    if match is not None:
        number, unit, binary = match.groups()
        size = float(number) * (1024 if binary else 1000) ** _POWERS[unit.lower()]
    else:
        size = value if isinstance(value, int | float) and not isinstance(value, bool) else 0
    if not 1 <= size < math.inf:
        raise RequantError(f'max_bytes takes a number of bytes above 0, or a size such as "50MB", not {value!r}')
    return int(size)
