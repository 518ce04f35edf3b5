"""What makes one plan better than another: significance, or the same word from three sides."""

import sys
from collections.abc import Sequence
from contextlib import nullcontext
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest

from requant.stages.improvement import improvement
from requant.stages.job import Job

module = sys.modules["requant.stages.improvement"]
UNSURE = [1.0, 0.01], [0.1, 0.02]
"""10 dB in one of two batches, -3 in the other: 9.3 together, and no test is sure."""
CASES = {
    "both agree": (UNSURE, True, True),
    "nothing predicted it": (UNSURE, False, False),
    "calibration data do not agree": (([1.0, 0.01], [1.0, 0.009]), True, False),
}


@pytest.mark.parametrize("case", CASES)
def test_few_samples_near_a_decision(case: str, monkeypatch: pytest.MonkeyPatch) -> None:
    training, predicted, is_better = CASES[case]
    answers = iter([np.array(UNSURE), np.array(training)])
    monkeypatch.setattr(module, "noise", lambda *_: next(answers))
    monkeypatch.setattr(module, "runnable", lambda model: model)
    parts = SimpleNamespace(held_out=(), training=cast("Sequence[object]", ()))
    lowering = SimpleNamespace(in_float32=SimpleNamespace(apply=lambda model, report: model))
    job = SimpleNamespace(
        times=lambda stage: nullcontext(), model=None, report=None, reference=None, lowering=lowering, parts=parts
    )
    reason = improvement(cast(Job, job), cast(Any, None), 3.0, predicted=predicted)
    assert bool(reason) is is_better
