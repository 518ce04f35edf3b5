"""Limits as callers write them: numbers, sizes and shares, or one line that says what they may be."""

import pytest

from requant.errors import RequantError
from requant.limits import NO_LIMITS, Limits, parsed_limits


@pytest.mark.parametrize(
    ("given", "limits", "words"),
    [
        ({}, NO_LIMITS, ""),
        ({"min_sqnr": 30}, Limits(min_sqnr=30.0), "min_sqnr=30"),
        ({"max_drop": 0}, Limits(max_drop=0.0), "max_drop=0"),
        ({"max_drop": 0.005}, Limits(max_drop=0.005), "max_drop=0.005"),
        ({"max_latency": 2.5}, Limits(max_latency=2.5), "max_latency=2.5"),
        ({"max_latency": "2.5"}, Limits(max_latency=2.5), "max_latency=2.5"),
        ({"max_latency": " 60 %"}, Limits(max_share=0.6), "max_latency=60%"),
        ({"max_bytes": 1000}, Limits(max_bytes=1000), "max_bytes=1000"),
        ({"max_bytes": "1000"}, Limits(max_bytes=1000), "max_bytes=1000"),
        ({"max_bytes": "1.5MB"}, Limits(max_bytes=1_500_000), "max_bytes=1500000"),
        ({"max_bytes": "2 KiB"}, Limits(max_bytes=2048), "max_bytes=2048"),
        ({"max_bytes": "1g", "min_sqnr": 40}, Limits(40.0, max_bytes=10**9), "min_sqnr=40, max_bytes=1000000000"),
    ],
)
def test_limits_are_read_from_numbers_and_text(given: dict[str, object], limits: Limits, words: str) -> None:
    assert parsed_limits(**given) == limits
    assert str(limits) == words
    assert bool(limits) == bool(given)


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("max_drop", -0.1, "max_drop takes a number from 0 on, in the unit of the metric, not -0.1"),
        ("max_drop", float("nan"), "max_drop takes"),
        ("max_drop", True, "max_drop takes"),
        ("max_latency", 0, 'max_latency takes milliseconds above 0, or a share such as "60%", not 0'),
        ("max_latency", "soon", "max_latency takes milliseconds"),
        ("max_latency", "0%", "max_latency takes a share of the float model's time up to 100%, not '0%'"),
        ("max_latency", "101%", "max_latency takes a share"),
        ("max_latency", "x%", "max_latency takes a share"),
        ("max_bytes", 0, 'max_bytes takes a number of bytes above 0, or a size such as "50MB", not 0'),
        ("max_bytes", "50 meters", "max_bytes takes a number of bytes"),
        ("max_bytes", "-5MB", "max_bytes takes a number of bytes"),
        ("max_bytes", float("inf"), "max_bytes takes a number of bytes"),
    ],
)
def test_what_is_no_limit_gets_one_line(name: str, value: object, message: str) -> None:
    with pytest.raises(RequantError) as error:
        parsed_limits(**{name: value})
    assert str(error.value).startswith(message)
