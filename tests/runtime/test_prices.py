"""Price tables: what they say of a product, and files of them."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from requant.errors import OutputError, RequantError
from requant.runtime.price_tables import ARM, AVX2, VNNI
from requant.runtime.prices import KERNELS, PRODUCT, Amounts, Prices, Rate, Rates
from requant.runtime.prices_file import read_prices, save_prices, to_dict
from requant.runtime.targets import TARGETS

SOME = Prices(
    "a test",
    {name: Rates(Rate(0.02, 0.1 * index, 1.0, 100.0), Rate(0.005, 0.2)) for index, name in enumerate(KERNELS)},
    Rate(element=0.3, call=50.0),
)


def test_a_rate_is_paid_for_each_of_the_amounts_and_for_the_call() -> None:
    assert Rate(2.0, 30.0, 500.0, 7000.0).time(Amounts(1, 2, 3)) == 2 + 60 + 1500 + 7000


@pytest.mark.parametrize("prices", [VNNI, AVX2, ARM], ids=["VNNI", "AVX2", "ARM"])
def test_a_table_has_all_kernels(prices: Prices) -> None:
    assert set(prices.kernels) == set(KERNELS)


def test_the_table_of_arm_says_that_it_is_not_measured() -> None:
    assert "not measured" in ARM.source


def test_a_product_gains_more_the_more_channels_it_has() -> None:
    rates = Rates(Rate(0.016, call=1e6), Rate(0.004, 0.1, call=1e6))
    prices = replace(SOME, kernels={**SOME.kernels, PRODUCT: rates})
    assert prices.product_gain(16, 16) == pytest.approx(256 * 0.016 / (256 * 0.004 + 32 * 0.1))
    assert prices.product_gain(16, 16) < 1 < prices.product_gain(32, 32) < prices.product_gain(512, 512) < 4


def test_a_file_holds_the_table(tmp_path: Path) -> None:
    save_prices(SOME, tmp_path / "prices.json")
    assert read_prices(tmp_path / "prices.json") == SOME


def test_fields_of_a_rate_that_are_left_out_are_0(tmp_path: Path) -> None:
    content = to_dict(SOME)
    content["nanoseconds"]["border"] = {"element": 0.5}
    path = tmp_path / "prices.json"
    path.write_text(json.dumps(content))
    assert read_prices(path).border == Rate(element=0.5)


def broken(**changes: Any) -> dict[str, Any]:  # JSON: values of any plain type
    content = to_dict(SOME)
    content["nanoseconds"] |= changes
    return content


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ("{", "no price table, which is JSON"),
        ([1], "the file is no JSON object"),
        ({"source": "a test"}, "the file has no nanoseconds: measure it with requant prices"),
        (broken(Conv3="x"), "nanoseconds has 'Conv3', which is none of border, Conv"),
        (broken(Conv={"float": {}}), "Conv has no int8: measure it"),
        (broken(Silu={"float": {"call": "4"}, "int8": {}}), "Silu, float, call: '4' is no number of nanoseconds"),
        (broken(Silu={"float": {}, "int8": {"tap": -1}}), "Silu, int8, tap: -1 is no number of nanoseconds"),
        (broken(border={"element": float("nan")}), "border, element: nan is no number of nanoseconds"),
        (broken(border={"size": 1}), "border has 'size', which is none of multiplication, element, tap, call"),
        (broken(MatMul={"float": {}, "int8": {}}), "MatMul: a multiplication takes no time"),
    ],
    ids=lambda case: case if isinstance(case, str) else "",
)
def test_a_file_that_is_no_table_is_refused_in_one_line(content: Any, reason: str, tmp_path: Path) -> None:
    path = tmp_path / "prices.json"
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    with pytest.raises(RequantError) as refusal:
        read_prices(path)
    assert str(refusal.value).startswith(f"{path}: ")
    assert reason in str(refusal.value)
    assert "\n" not in str(refusal.value)


def test_a_file_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RequantError, match="No such file"):
        read_prices(tmp_path / "none.json")


def test_a_table_is_not_written_into_a_folder_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="does not exist"):
        save_prices(SOME, tmp_path / "none" / "prices.json")


def test_targets_without_integer_outputs_have_no_prices() -> None:
    assert {name for name, row in TARGETS.items() if row.prices is not None} == {
        name for name, row in TARGETS.items() if row.integer_outputs
    }
