"""Arrays of all samples, cut into feeds: inputs that share their first axis, and those that do not."""

import numpy as np
import onnx_ir as ir
import pytest

from requant import DataError
from requant.calib.sample_axes import count_samples, sample_axes
from requant.calib.sources import batches


def model(inputs: str) -> ir.Model:
    return ir.from_onnx_text(
        f'<ir_version: 8, opset_import: ["": 17]> g ({inputs}) => (float[n, 4] y) {{ y = Identity(x) }}'
    )


CASES = {
    "float[N,4] x, float[8,4] t": ({"x": (32, 4), "t": (8, 4)}, {"x": (1, 4), "t": (8, 4)}),
    "float[8,4] t, float[N,4] x": ({"t": (8, 4), "x": (32, 4)}, {"x": (1, 4), "t": (8, 4)}),
    "float[1,4] x, float[4,2] t": ({"x": (32, 4), "t": (128, 2)}, {"x": (1, 4), "t": (4, 2)}),
    "float[1,4] x, float[5,2] t": ({"x": (32, 4), "t": (5, 2)}, {"x": (1, 4), "t": (5, 2)}),
    "float[2,4] x, float[2,2] t": ({"x": (64, 4), "t": (64, 2)}, {"x": (2, 4), "t": (2, 2)}),
    "float[N,4] x, float[8,4] c": ({"x": (32, 4), "c": (32, 4)}, {"x": (8, 4), "c": (8, 4)}),
}


@pytest.mark.parametrize("inputs", CASES)
def test_each_feed_has_its_rows_of_every_input(inputs: str) -> None:
    shapes, expected = CASES[inputs]
    data = {name: np.arange(np.prod(shape), dtype=np.float32).reshape(shape) for name, shape in shapes.items()}
    feeds = list(batches(data, model(inputs)))
    assert {name: array.shape for name, array in feeds[0].items()} == expected
    assert len(feeds) == 32 // (8 if "c" in shapes else 1)
    np.testing.assert_array_equal(np.concatenate([feed["x"] for feed in feeds]), data["x"])


def test_samples_are_counted_along_an_axis_that_may_vary() -> None:
    axes = sample_axes(model("float[8,4] t, float[N,4] x"))
    assert count_samples({"t": np.zeros((8, 4)), "x": np.zeros((3, 4))}, axes) == 3


@pytest.mark.parametrize("inputs", ["float[N,4] x, float[S,4] t", "float[N,4] x, float[3,4] t"])
def test_what_cannot_be_known_is_said_in_one_line(inputs: str) -> None:
    data = {"x": np.zeros((32, 4), np.float32), "t": np.zeros((8, 4), np.float32)}
    with pytest.raises(DataError, match=r"different numbers of samples .*; pass a folder of \.npz files"):
        list(batches(data, model(inputs)))
