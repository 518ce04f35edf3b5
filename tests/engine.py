"""What an ONNX Runtime that is too old cannot do, so that a test says why it does not run there."""

from collections.abc import Mapping
from importlib.util import find_spec

import pytest

from requant.runtime.targets import ROUNDS_HALVES
from requant.runtime.targets.common import ONNXRUNTIME
from requant.runtime.targets.machine import processor
from requant.runtime.versions import number, parsed

SINCE: Mapping[str, str] = {
    "opset 25": "1.24",
    "QuantizeLinear of opset 23": "1.24",
    "a record of which node runs where": "1.24",
    "opset 26": "1.25",
    "MatMulNBits of 8 bits": "1.25",
    "Attention of halves in groups": "1.25",
    "Attention of a row that is masked whole": "1.28",
    "the integer Gemm that wants a zero point": "1.28",
    "rounding of halves to the nearest code": ROUNDS_HALVES,
}
"""The first version that has it."""


RULES = {("cpu", "zero-point-left-out"): "the integer Gemm that wants a zero point"}
"""What a rule's graph needs to break it, by target and rule, where old versions do well."""


needs_tensorrt_rtx = pytest.mark.skipif(find_spec("tensorrt_rtx") is None, reason="needs the wheel tensorrt-rtx")
needs_vnni = pytest.mark.skipif(processor() == "cpu-avx2", reason="without VNNI, weights have 7 bits or saturate")


def marks(target: str, rule: str) -> list[pytest.MarkDecorator]:
    """Skip where an old engine does not break the rule."""
    return [needs(RULES[target, rule])] if (target, rule) in RULES else []


def needs(feature: str) -> pytest.MarkDecorator:
    """Mark a test that an engine without ``feature`` cannot pass."""
    begin, version = SINCE[feature], number(ONNXRUNTIME)
    assert version is not None
    return pytest.mark.skipif(version < parsed(begin), reason=f"only ONNX Runtime {begin} and newer has {feature}")
