"""Valid data that gives bad ranges is reported in one line, and other data is not."""

from pathlib import Path

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray

import requant
from requant.calib.notes import Notes
from requant.cli.run import run
from requant.ir.load import load

Arrays = dict[str, NDArray[np.generic]]


def image(operator: str = "") -> onnx.ModelProto:
    """Build a convolution over an image, behind an ``operator`` with a constant, beside a mask and a rate."""
    scaled = f"s = {operator}(x, mean)" if operator else "s = Identity(x)"
    return onnx.parser.parse_model(
        f"""<ir_version: 8, opset_import: ["" : 17]>
        g (float[b,3,8,8] x, float[b,8] mask, float[1] rate) => (float y, float m)
        <float mean = {{127.5}}, float[16,3,1,1] w = {{{", ".join("0.1" for _ in range(48))}}}>
        {{ {scaled} y = Conv(s, w) n = Mul(mask, rate) m = ReduceSum(n) }}"""
    )


def representative(samples: int = 8) -> Arrays:
    generator = np.random.default_rng(0)
    return {
        "x": generator.normal(size=(samples, 3, 8, 8)).astype(np.float32),
        "mask": generator.normal(size=(samples, 8)).astype(np.float32),
        "rate": np.ones(1, np.float32),
    }


def pixels() -> NDArray[np.float32]:
    return np.random.default_rng(0).integers(0, 256, (8, 3, 8, 8)).astype(np.float32)


def lines(feed: Arrays, operator: str = "") -> list[str]:
    notes = Notes(load(image(operator)))
    for _ in notes.watch([feed]):
        pass
    return notes.lines(len(feed["x"]))


def test_good_data_has_no_notes() -> None:
    assert lines(representative()) == []


@pytest.mark.parametrize(
    ("changed", "expected"),
    [
        ({"mask": np.zeros((8, 8), np.float32)}, "input 'mask' is constant at 0 in the calibration data"),
        ({"mask": np.full((8, 8), 2.5, np.float32)}, "input 'mask' is constant at 2.5 in the calibration data"),
        ({"x": pixels()}, "input 'x' holds integers up to 255"),
    ],
)
def test_faults_are_named(changed: Arrays, expected: str) -> None:
    (line,) = lines(representative() | changed)
    assert line.startswith(expected)


@pytest.mark.parametrize("operator", ["Sub", "Div"])
def test_pixels_are_right_for_a_model_that_normalizes_them(operator: str) -> None:
    assert lines(representative() | {"x": pixels()}, operator) == []


def test_one_sample_or_many_equal_ones() -> None:
    assert lines(representative(1))[0].startswith("calibration holds a single sample")
    equal = {name: np.repeat(array[:1], 4, axis=0) for name, array in representative().items()}
    assert lines(equal)[0].startswith("all 4 calibration samples are equal")


def test_the_command_line_prints_them_and_the_report_keeps_them(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    proto = onnx.parser.parse_model(
        """<ir_version: 8, opset_import: ["" : 17]> g (float[b,32] x, float[b,32] z) => (float[b,32] y)
        { p = MatMul(x, w) y = Add(p, z) }"""
    )
    weight = np.random.default_rng(0).normal(size=(32, 32)).astype(np.float32)
    proto.graph.initializer.append(onnx.numpy_helper.from_array(weight, "w"))
    data = {"x": np.random.default_rng(1).normal(size=(16, 32)).astype(np.float32), "z": np.zeros((16, 32), np.float32)}
    note = "input 'z' is constant at 0 in the calibration data"
    with pytest.warns(requant.CalibrationWarning, match=note):
        assert requant.optimize(proto, data, "int8-plain").report.notes == [note]
    onnx.save(proto, tmp_path / "model.onnx")
    np.savez(tmp_path / "data.npz", x=data["x"], z=data["z"])
    assert run(["optimize", str(tmp_path / "model.onnx"), "-c", str(tmp_path / "data.npz")]) == 0
    streams = capsys.readouterr()
    assert f"warning: {note}" in streams.err
    assert f"note: {note}" in streams.out
