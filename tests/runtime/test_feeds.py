"""Data in the types that a model takes."""

import numpy as np
import onnx
import onnx_ir as ir

from requant.runtime.feeds import fitted


def test_floats_become_as_wide_as_the_model_takes_them_and_nothing_else_changes() -> None:
    text = """<ir_version: 8, opset_import: ["": 17]>
        g (float16[2] h, float[2] f, int64[2] i, float16[2] j) => (float[2] y) { y = Relu(f) }"""
    model = ir.from_proto(onnx.parser.parse_model(text))
    feed = {name: np.array([0.5, 1], np.float32) for name in ("h", "f", "i", "unknown")} | {"j": np.array([1, 2])}
    feed_types = {name: array.dtype for name, array in fitted(feed, model).items()}
    single = np.dtype(np.float32)
    assert feed_types == {"h": np.float16, "f": single, "i": single, "unknown": single, "j": np.int64}


def test_a_sequence_and_an_absent_optional_are_passed_on() -> None:
    text = """<ir_version: 8, opset_import: ["": 17]>
        g (seq(float16[2]) s, optional(float16[2]) o) => (float16[2] y) { z = Constant<value_int = 0> ()
        y = SequenceAt(s, z) }"""
    model = ir.from_proto(onnx.parser.parse_model(text))
    feed = {"s": [np.ones(2, np.float16)], "o": None}
    assert fitted(feed, model) == feed  # type: ignore[arg-type] # ONNX's own models are fed so
