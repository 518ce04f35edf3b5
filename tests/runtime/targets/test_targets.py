"""The table of engines."""

import pytest

from requant.errors import TargetError
from requant.runtime.targets import TARGETS, processor, target


def test_an_unknown_target_is_answered_with_those_there_are() -> None:
    with pytest.raises(TargetError, match="unknown target 'npu': choose one of cpu, "):
        target("npu")


@pytest.mark.parametrize(
    ("machine", "flags", "row"),
    [
        ("x86_64", "avx2 avx512_vnni", "cpu"),
        ("AMD64", "avx2 avx_vnni", "cpu"),
        ("x86_64", "avx2", "cpu-avx2"),
        ("aarch64", "", "cpu-arm"),
        ("arm64", "", "cpu-arm"),
    ],
)
def test_cpu_is_what_the_processor_can_do(machine: str, flags: str, row: str) -> None:
    assert processor(machine, flags) == row


@pytest.mark.parametrize("name", ["cpu", "openvino"])
def test_an_engine_keeps_its_name_whatever_the_processor(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("requant.runtime.targets.processor", lambda: "cpu-avx2")
    assert (target(name).name, target(name).weight_bits) == (name, 7)
    monkeypatch.setattr("requant.runtime.targets.processor", lambda: "cpu")
    assert (target(name).name, target(name).weight_bits) == (name, 8)
    assert all(target(name).name == name for name in TARGETS)
