"""TensorRT engines: the calls that each version gets, what is kept, and what is said when it does not work.

TensorRT is a fake that records; at the end stands the real builder of TensorRT-RTX, where that is installed.
"""

import sys
from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
import pytest

from requant.errors import OutputError, TargetError
from requant.runtime import build_engine
from requant.runtime.gpu import gpu_name
from tests.engine import needs_tensorrt_rtx
from tests.runtime.trt.fake_tensorrt import TYPED, Calls, fake_tensorrt, parser_error

STRONG = 1 << 1
TEN, ELEVEN, _ = TYPED
SHAPES = {"x": ((1, 16), (4, 16), (8, 16))}


@pytest.fixture(params=[TEN, ELEVEN])
def version(request: pytest.FixtureRequest) -> str:
    """Of TensorRT."""
    return str(request.param)


@pytest.fixture
def calls(version: str, monkeypatch: pytest.MonkeyPatch) -> Calls:
    """Put a fake TensorRT in place."""
    module, calls = fake_tensorrt(version)
    monkeypatch.setitem(sys.modules, "tensorrt", module)
    return calls


def model(kind: str = "int8", zero: int = 0, weight: float = 7) -> ir.Model:
    """Build x through Q/DQ, times a weight; of ``kind`` "float32" or "float16" without Q/DQ."""
    stored = {"int8": "int8", "float8": "float8e4m3fn"}.get(kind)
    dtype = "float16" if kind == "float16" else "float"
    points = f"<float s = {{0.5}}, {stored} z = {{{zero}}}>" if stored else ""
    quantized = "d = QuantizeLinear(x, s, z) e = DequantizeLinear(d, s, z)" if stored else "e = Identity(x)"
    proto = onnx.parser.parse_model(
        f"""<ir_version: 9, opset_import: ["": 19]> g ({dtype}[b, 16] x) => ({dtype}[b, 4] y) {points}
        {{ {quantized} y = MatMul(e, w) }}"""
    )
    values = np.full((16, 4), weight, np.float16 if kind == "float16" else np.float32)
    proto.graph.initializer.append(onnx.numpy_helper.from_array(values, "w"))
    return ir.from_proto(proto)


@pytest.mark.parametrize(
    ("kind", "flags"),
    [("int8", ["INT8", "FP16"]), ("float32", []), ("float16", []), ("float8", [])],
)
def test_types_come_from_the_graph_or_are_allowed(
    kind: str, flags: list[str], calls: Calls, version: str, tmp_path: Path
) -> None:
    build_engine(model(kind), tmp_path, profiles=SHAPES)
    allowed = flags if version == TEN else []
    assert calls.flags == allowed
    assert calls.network_flags == [0 if allowed else STRONG]


def test_shapes_become_a_profile(calls: Calls, tmp_path: Path) -> None:
    build_engine(model(), tmp_path, profiles={"x": ([1, 16], [4, 16], [8, 16])})
    assert calls.shapes == [("x", *SHAPES["x"])]


def test_an_engine_is_built_once(calls: Calls, tmp_path: Path) -> None:
    path = build_engine(model(), tmp_path / "new", profiles=SHAPES)
    assert path == build_engine(model(), tmp_path / "new", profiles=SHAPES)
    assert (calls.builds, path.read_bytes(), path.suffix) == (1, b"engine", ".engine")
    assert sorted(file.suffix for file in path.parent.iterdir()) == [".engine", ".timings"]
    assert calls.timings == [b""]


def test_another_build_remembers_timings(calls: Calls, tmp_path: Path) -> None:
    build_engine(model(), tmp_path, profiles=SHAPES)
    build_engine(model("float32"), tmp_path, profiles=SHAPES)
    assert calls.timings == [b"", b"timings"]


def test_engines_differ_by_weights_shapes_version_and_gpu(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(sys.modules, "tensorrt", fake_tensorrt(TEN)[0])
    paths = [
        build_engine(model(), tmp_path, profiles=SHAPES),
        build_engine(model(weight=8), tmp_path, profiles=SHAPES),
        build_engine(model(), tmp_path, profiles={"x": ((1, 16), (4, 16), (9, 16))}),
    ]
    monkeypatch.setattr(sys.modules["requant.runtime.trt.build_engine"], "gpu_name", lambda: "NVIDIA L4")
    paths.append(build_engine(model(), tmp_path, profiles=SHAPES))
    monkeypatch.setitem(sys.modules, "tensorrt", fake_tensorrt(ELEVEN)[0])
    paths.append(build_engine(model(), tmp_path, profiles=SHAPES))
    assert len(set(paths)) == 5


def test_a_model_on_disk_is_parsed_from_there(calls: Calls, tmp_path: Path) -> None:
    source = tmp_path / "model.onnx"
    onnx.save(ir.to_proto(model()), source, save_as_external_data=True, location="weights", size_threshold=0)
    first = build_engine(source, tmp_path / "cache", profiles=SHAPES)
    assert calls.parsed == [str(source)]
    weights = bytearray((tmp_path / "weights").read_bytes())
    weights[-1] ^= 1
    (tmp_path / "weights").write_bytes(weights)
    assert build_engine(source, tmp_path / "cache", profiles=SHAPES) != first


@pytest.mark.parametrize("name", ["quantize", ""])
def test_a_refused_node_is_named(name: str, calls: Calls, tmp_path: Path) -> None:
    calls.errors.append(parser_error(0, name, "QuantizeLinear", "shift is not zero"))
    with pytest.raises(TargetError, match=f"refuses '{name or 'd'}' .QuantizeLinear.: shift is not zero"):
        build_engine(model(), tmp_path, profiles=SHAPES)
    assert not any(tmp_path.iterdir())


def test_what_is_wrong_with_no_node_is_said_of_the_model(calls: Calls, tmp_path: Path) -> None:
    calls.errors.append(parser_error(-1, "", "", "no graph"))
    with pytest.raises(TargetError, match="refuses the model: no graph"):
        build_engine(model(), tmp_path, profiles=SHAPES)


def test_a_failed_build_says_why_and_leaves_nothing(calls: Calls, tmp_path: Path) -> None:
    calls.refuses = "no implementation\nfor node y"
    with pytest.raises(TargetError, match="cannot build the model: no implementation for node y"):
        build_engine(model(), tmp_path, profiles=SHAPES)
    assert not any(tmp_path.iterdir())


def test_no_gpu_is_one_line(calls: Calls, tmp_path: Path) -> None:
    calls.has_gpu = False
    with pytest.raises(TargetError, match="finds no GPU that it can build on: CUDA initialization failure 100"):
        build_engine(model(), tmp_path, profiles=SHAPES)


@pytest.mark.parametrize(
    ("profiles", "text"),
    [
        ({}, "input 'x' of shape bx16 is dynamic: give profiles"),
        ({"z": SHAPES["x"]}, "no input 'z'; it has x"),
        ({"x": ((1, 16), (4, 16), (2, 16))}, "not three shapes from small to large of bx16"),
        ({"x": ((1, 16), (4, 17), (8, 17))}, "not three shapes"),
        ({"x": ((1,), (4,), (8,))}, "not three shapes"),
        ({"x": ((1, 16), (4, 16))}, "not three shapes"),
    ],
)
def test_shapes_that_do_not_fit_are_refused(
    profiles: dict[str, object], text: str, calls: Calls, tmp_path: Path
) -> None:
    with pytest.raises(TargetError, match=text):
        build_engine(model(), tmp_path, profiles=profiles)  # type: ignore[arg-type] # wrong on purpose
    assert calls.builds == 0


def test_only_tensorrt_rtx_builds_ahead_of_time(calls: Calls, tmp_path: Path) -> None:
    with pytest.raises(TargetError, match=r"cannot build for compute capability 8\.9"):
        build_engine(model(), tmp_path, profiles=SHAPES, capability="8.9")


def test_a_folder_that_cannot_be_made_is_an_error(calls: Calls, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(OutputError, match="cannot be written"):
        build_engine(model(), tmp_path / "file" / "cache", profiles=SHAPES)


@pytest.mark.parametrize(("target", "package"), [("tensorrt", "requant.tensorrt"), ("tensorrt-rtx", "tensorrt-rtx")])
def test_without_tensorrt_one_line_says_what_to_install(
    target: str, package: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for module in ("tensorrt", "tensorrt_rtx"):
        monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(TargetError, match=f"is not installed: pip install .*{package}"):
        build_engine(model(), tmp_path, target=target)
    with pytest.raises(TargetError, match="no engines for 'cpu'"):
        build_engine(model(), tmp_path, target="cpu")


def test_the_gpu_has_a_name_or_none() -> None:
    assert gpu_name() == "" or gpu_name().isprintable()


@needs_tensorrt_rtx
def test_the_real_builder_of_tensorrt_rtx(tmp_path: Path) -> None:
    path = build_engine(model(), tmp_path, profiles=SHAPES, target="tensorrt-rtx", capability="8.9")
    assert path.stat().st_size > 1000
    assert path == build_engine(model(), tmp_path, profiles=SHAPES, target="tensorrt-rtx", capability="8.9")
    with pytest.raises(TargetError, match=r"refuses 'd' .QuantizeLinear.: .*Non-zero zero point is not supported"):
        build_engine(model(zero=5), tmp_path, profiles=SHAPES, target="tensorrt-rtx", capability="8.9")
