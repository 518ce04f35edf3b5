"""Each target's session has the options that matter there, and none falls back silently."""

import sys
from collections.abc import Iterable
from pathlib import Path
from types import ModuleType

import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime as ort
import pytest

from requant.errors import OutputError, TargetError
from requant.runtime import session
from requant.runtime.ort import providers
from requant.runtime.ort.placement import RECORD
from requant.runtime.session import runner
from requant.runtime.targets import TARGETS
from tests.engine import needs
from tests.runtime.ort.fake_onnxruntime import Nodes, install, plain

PROVIDERS = {name: row.provider for name, row in TARGETS.items() if row.provider is not None}
TRT, RTX, CUDA, CPU = (PROVIDERS[name].name for name in ("tensorrt", "tensorrt-rtx", "cuda", "cpu"))
ALL_ON_TRT: Nodes = {TRT: [("MatMul", "m")]}


def quantized(weight: int = 127) -> ir.Model:
    """Build x times an int8 weight, both through Q/DQ."""
    model = onnx.parser.parse_model(
        """<ir_version: 8, opset_import: ["": 17]> g (float[b, 16] x) => (float[b, 16] y)
        <float s = {0.1}, int8 z = {0}, int8[16, 16] w>
        { q = QuantizeLinear(x, s, z) d = DequantizeLinear(q, s, z) v = DequantizeLinear(w, s, z) y = MatMul(d, v) }"""
    )
    model.graph.initializer.append(onnx.numpy_helper.from_array(np.full((16, 16), weight, np.int8), "w"))
    return ir.from_proto(model)


def test_every_target_has_an_engine() -> None:
    assert set(TARGETS) == PROVIDERS.keys() | {name for name, row in TARGETS.items() if row.runner is not None}


@pytest.mark.parametrize("target", ["openvino", "abacus"])
def test_a_target_that_is_no_provider_is_an_error(target: str) -> None:
    with pytest.raises(TargetError, match="no provider for"):
        session(plain(), target)


@pytest.mark.parametrize("target", ["cuda", "tensorrt"])
def test_a_provider_that_is_not_in_the_wheel_is_an_error_that_says_what_to_install(target: str) -> None:
    with pytest.raises(TargetError, match=r"pip install 'requant\["):
        session(plain(), target)


def test_tensorrt_is_set_up_for_quantized_graphs(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    record = install(monkeypatch, [TRT, CUDA, CPU], [TRT, CUDA, CPU], ALL_ON_TRT)
    shapes = ((1, 16), (4, 16), (8, 16))
    session(quantized(), "tensorrt", cache=tmp_path / "new", profiles={"x": shapes}, options={"device_id": "1"})
    assert record.providers is not None
    (name, options), *rest = record.providers
    assert (name, rest, record.level, record.keywords) == (TRT, [CUDA, CPU], "none", {"enable_fallback": 0})
    prefix = options.pop("trt_engine_cache_prefix")
    folder = str(tmp_path / "new")
    assert options == {
        "trt_int8_enable": "1",
        "trt_fp16_enable": "1",
        "trt_engine_cache_enable": "1",
        "trt_engine_cache_path": folder,
        "trt_timing_cache_enable": "1",
        "trt_timing_cache_path": folder,
        "trt_profile_min_shapes": "x:1x16",
        "trt_profile_opt_shapes": "x:4x16",
        "trt_profile_max_shapes": "x:8x16",
        "device_id": "1",
    }
    assert (tmp_path / "new").is_dir()
    session(quantized(126), "tensorrt", cache=tmp_path)
    assert record.providers[0][1]["trt_engine_cache_prefix"] != prefix  # models that differ in weights alone


def test_a_float32_model_stays_float32_on_tensorrt(monkeypatch: pytest.MonkeyPatch) -> None:
    record = install(monkeypatch, [TRT], [TRT, CPU], ALL_ON_TRT)
    session(plain(), "tensorrt")
    assert record.providers is not None
    assert record.providers[0] == (TRT, {})


def test_half_precision_alone_allows_no_int8(monkeypatch: pytest.MonkeyPatch) -> None:
    record = install(monkeypatch, [TRT], [TRT, CPU], ALL_ON_TRT)
    text = '<ir_version: 8, opset_import: ["": 17]> g (float16[2] x) => (float16[2] y) { y = Relu(x) }'
    session(ir.from_proto(onnx.parser.parse_model(text)), "tensorrt")
    assert record.providers is not None
    assert record.providers[0] == (TRT, {"trt_fp16_enable": "1"})


def test_cuda_folds_weights_of_a_quantized_graph_only(monkeypatch: pytest.MonkeyPatch) -> None:
    record = install(monkeypatch, [CUDA], [CUDA, CPU], {CUDA: [("Relu", "")]})
    session(quantized(), "cuda")
    assert (record.entries.pop("session.disable_quant_qdq"), record.level) == ("1", "all")
    session(plain(), "cuda")
    assert record.entries == {"session.record_ep_graph_assignment_info": "1"}


@pytest.mark.parametrize(("weight", "slow"), [(127, True), (-65, True), (64, False), (-64, False)])
def test_without_vnni_the_slow_exact_kernel_is_for_weights_of_8_bits(weight: int, slow: bool) -> None:
    live = session(quantized(weight), "cpu-avx2")
    entry = "session.x64quantprecision"
    assert PROVIDERS["cpu-avx2"].entries(quantized(weight)) == ({entry: "1"} if slow else {})
    if slow:
        assert live.get_session_options().get_session_config_entry(entry) == "1"


def test_the_cpu_is_that_of_the_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(providers, "processor", lambda: "cpu-arm")
    entry = session(plain()).get_session_options().get_session_config_entry("session.qdqisint8allowed")
    assert entry == "1"
    monkeypatch.setattr(providers, "processor", lambda: "cpu")
    with pytest.raises(RuntimeError):
        session(plain()).get_session_options().get_session_config_entry("session.qdqisint8allowed")


@pytest.mark.parametrize("target", ["cpu", "cpu-avx2", "cpu-arm"])
def test_processors_agree(target: str) -> None:
    feed = {"x": np.linspace(-9, 9, 32, dtype=np.float32).reshape(2, 16)}
    [expected], [actual] = (
        runner(quantized(50), target=name, optimized=name != "cpu")(feed) for name in ("cpu", target)
    )
    np.testing.assert_allclose(actual.astype(np.float32), expected.astype(np.float32), rtol=1e-5)


def test_a_plugin_is_registered_and_given_its_devices(monkeypatch: pytest.MonkeyPatch) -> None:
    record = install(monkeypatch, [CPU], [RTX, CPU], {RTX: [("Relu", "")]}, devices=[RTX, RTX])
    plugin = ModuleType("onnxruntime_ep_nv_tensorrt_rtx")
    plugin.get_library_path = lambda: "library.so"  # type: ignore[attr-defined] # a fake module
    monkeypatch.setitem(sys.modules, plugin.__name__, plugin)
    session(plain(), "tensorrt-rtx")
    assert (record.providers, record.devices, record.level) == (None, {}, "none")


def test_a_plugin_without_a_device_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    install(monkeypatch, [CPU], [CPU], {})
    with pytest.raises(TargetError, match="onnxruntime-ep-nv-tensorrt-rtx"):
        session(plain(), "tensorrt-rtx")
    plugin = ModuleType("onnxruntime_ep_nv_tensorrt_rtx")
    plugin.get_library_path = lambda: "library.so"  # type: ignore[attr-defined] # a fake module
    monkeypatch.setitem(sys.modules, plugin.__name__, plugin)
    with pytest.raises(TargetError, match="finds no device"):
        session(plain(), "tensorrt-rtx")


def test_a_plugin_that_the_real_onnxruntime_cannot_load_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    plugin = ModuleType("onnxruntime_ep_nv_tensorrt_rtx")
    plugin.get_library_path = lambda: "/nowhere/library.so"  # type: ignore[attr-defined] # a fake module
    monkeypatch.setitem(sys.modules, plugin.__name__, plugin)
    with pytest.raises(TargetError, match="cannot be loaded") as caught:
        session(plain(), "tensorrt-rtx")
    assert len(str(caught.value).splitlines()) == 1


def test_a_provider_that_refuses_the_model_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    install(monkeypatch, [CUDA], [CUDA], {})

    def refuse(*arguments: object, **keywords: object) -> None:
        raise RuntimeError("[ONNXRuntimeError] : 11 : EP_FAIL : no CUDA\n device")

    monkeypatch.setattr(sys.modules["onnxruntime"], "InferenceSession", refuse)
    with pytest.raises(TargetError, match="CUDAExecutionProvider does not load the model: no CUDA device"):
        session(plain(), "cuda")


def test_a_cache_that_cannot_be_made_is_an_error(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    install(monkeypatch, [TRT], [TRT], ALL_ON_TRT)
    (tmp_path / "file").touch()
    with pytest.raises(OutputError, match="cannot be made"):
        session(plain(), "tensorrt", cache=tmp_path / "file" / "cache")


def test_a_model_on_disk_is_read_by_onnxruntime_itself(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    record = install(monkeypatch, [TRT], [TRT], ALL_ON_TRT)
    onnx.save(ir.to_proto(quantized()), tmp_path / "model.onnx")
    session(tmp_path / "model.onnx", "tensorrt")
    assert record.source == str(tmp_path / "model.onnx")
    assert record.providers is not None
    assert record.providers[0][1] == {"trt_int8_enable": "1", "trt_fp16_enable": "1"}


def require_known(keys: Iterable[str]) -> None:
    """ONNX Runtime takes any key without a word, so look for them in its library."""
    library = next((Path(ort.__file__).parent / "capi").glob("onnxruntime_pybind11_state*"))
    known = library.read_bytes()
    assert all(key.encode() in known for key in keys)


def test_the_keys_are_known_to_onnxruntime() -> None:
    keys = {key for name in ("cpu-avx2", "cpu-arm", "cuda") for key in PROVIDERS[name].entries(quantized())}
    assert len(keys) == 3
    require_known(keys)


@needs("a record of which node runs where")
def test_the_key_of_the_record_is_known_to_onnxruntime() -> None:
    require_known(RECORD)
