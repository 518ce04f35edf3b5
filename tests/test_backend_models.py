"""ONNX's own models of every operator: none ends in a traceback, and none computes another thing afterwards."""

from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx.backend.test.case.node import collect_testcases

import requant
from requant.errors import RequantError, SourceError
from requant.ir.load import load
from requant.runtime.feeds import Feed
from requant.runtime.outputs import layout, numbers, texts
from requant.runtime.session import runner

FEWEST = 1500
"""How many of them ONNX Runtime runs, at least."""

TOLERANCE = {True: 0.3, False: 1e-4}
"""The largest relative error, by whether anything was quantized."""


def _models() -> Iterator[tuple[str, onnx.ModelProto, Feed]]:
    for case in collect_testcases(None):
        if case.model is not None and case.data_sets is not None:
            names = [value.name for value in case.model.graph.input]
            yield case.name, case.model, dict(zip(names, case.data_sets[0][0], strict=False))
    for path in Path(onnx.__file__).parent.glob("backend/test/data/*/*/model.onnx"):
        model, data = onnx.load(path), path.parent / "test_data_set_0"
        names = [value.name for value in model.graph.input]
        feed = {}
        for count, file in enumerate(sorted(data.glob("input_*.pb"))):
            tensor = onnx.TensorProto.FromString(file.read_bytes())
            feed[names[count]] = onnx.numpy_helper.to_array(tensor)
        yield path.parent.name, model, feed


@pytest.mark.property
@pytest.mark.filterwarnings("ignore")
def test_every_operator_survives() -> None:
    seen = Counter[str]()
    for name, model, feed in _models():
        try:
            result = requant.optimize(model, None, "int8-plain")
        except RequantError:
            seen["refused"] += 1
            continue
        try:
            wanted = runner(load(model))(feed)
        except (SourceError, ValueError):  # ONNX Runtime has no such kernel, or no such type of data
            seen["not run"] += 1
            continue
        quantized = any(layer.quantized for layer in result.report.layers)
        for old, new in zip(wanted, runner(result.model)(feed), strict=True):
            assert (layout(old), texts(old)) == (layout(new), texts(new)), name
            y, z = numbers(old), numbers(new)
            finite = np.isfinite(y)
            np.testing.assert_array_equal(z[~finite], y[~finite], name)
            size = max(float(np.linalg.norm(y[finite])), 1e-9)
            assert np.linalg.norm(y[finite] - z[finite]) <= TOLERANCE[quantized] * size, name
        seen["run"] += 1
    assert seen["run"] >= FEWEST, seen
    assert seen["refused"] <= 60, seen
