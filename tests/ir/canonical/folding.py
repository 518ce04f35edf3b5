"""What the tests of folding into layers check: which ops remain, that they compute the same, and what is declined."""

import logging
from collections.abc import Callable
from typing import TypeAlias

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from numpy.typing import NDArray

from requant.ir.canonical.canonicalize import canonicalize
from requant.ir.load import load

Arrays: TypeAlias = list[NDArray[np.generic]]
Compute: TypeAlias = Callable[[ir.Model], Arrays]
Deviation: TypeAlias = Callable[[Arrays, Arrays], float]


def require_folded(source: onnx.ModelProto, ops: str, compute: Compute, deviation: Deviation) -> None:
    """Check that the canonical form of ``source`` has these ops and computes the same within float32."""
    model = load(source)
    before = compute(model)
    canonicalize(model)
    assert remaining(model) == ops
    assert deviation(before, compute(model)) < 1e-5


def require_declined(
    source: onnx.ModelProto, ops: str, reason: str, compute: Compute, caplog: pytest.LogCaptureFixture
) -> None:
    """Check that the canonical form of ``source`` has these ops, computes the very same, and says why."""
    model = load(source)
    before = compute(model)
    with caplog.at_level(logging.DEBUG, logger="requant.ir.canonical"):
        canonicalize(model)
    assert remaining(model) == ops
    assert any(reason in message for message in [*caplog.messages, ""] if message or not reason), caplog.messages
    assert all(map(np.array_equal, before, compute(model)))


def remaining(model: ir.Model) -> str:
    """The ops of ``model`` in order."""
    return " ".join(node.op_type for node in model.graph)
