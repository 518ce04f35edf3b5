"""The synthetic models are valid, finite, the same function in every spelling, and have outliers."""

from copy import deepcopy
from dataclasses import replace
from functools import cache
from math import isqrt
from typing import TypeAlias, cast

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from numpy.typing import NDArray

from models import synthetic
from models.synthetic import BUILDERS, DIALECTS, Dialect, Outliers, Transformer, feeds

Array: TypeAlias = NDArray[np.float32]
OPSETS = (11, 14, 17, 23)
SPEC = Transformer()
NORM = {name: "RMSNormalization" if name == "rms_swiglu" else "LayerNormalization" for name in BUILDERS}
each_builder = pytest.mark.parametrize("name", BUILDERS)


def run(model: onnx.ModelProto, inputs: dict[str, Array], *extra: str) -> list[Array]:
    """The output, then the values named in ``extra``, with the runtime's own rewrites off."""
    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.intra_op_num_threads = 1
    probed = deepcopy(model)
    probed.graph.output.extend(onnx.ValueInfoProto(name=value) for value in extra)
    session = ort.InferenceSession(probed.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return [np.asarray(y) for y in session.run(None, inputs)]


@cache
def expected(name: str) -> Array:
    return run(BUILDERS[name](SPEC), feeds(SPEC, 1)[0])[0]


def assert_same(actual: Array, wanted: Array) -> None:
    np.testing.assert_allclose(actual, wanted, rtol=0, atol=1e-4 * float(np.abs(wanted).max()))


def op_types(model: onnx.ModelProto) -> list[str]:
    return [node.op_type for node in model.graph.node]


@each_builder
@pytest.mark.parametrize("opset", OPSETS)
@pytest.mark.parametrize("dialect", DIALECTS)
def test_every_spelling_is_the_same_function(name: str, opset: int, dialect: Dialect) -> None:
    model = BUILDERS[name](replace(SPEC, opset=opset, dialect=dialect))
    onnx.checker.check_model(model, full_check=True)
    assert model.opset_import[0].version == opset
    assert 7 <= model.ir_version <= 11
    assert len({node.name for node in model.graph.node} - {""}) == len(model.graph.node)
    (y,) = run(model, feeds(model, 1)[0])
    assert y.shape == (1, 16, SPEC.width)
    assert np.isfinite(y).all()
    assert y.std() > 0.1
    assert_same(y, expected(name))


@each_builder
@pytest.mark.parametrize("opset", [11, 23])
def test_static_and_dynamic_shapes_agree(name: str, opset: int) -> None:
    static = BUILDERS[name](replace(SPEC, tokens=16, batch=1, opset=opset))
    onnx.checker.check_model(static, full_check=True)
    for value in (*static.graph.input, *static.graph.output):
        assert [dim.dim_value for dim in value.type.tensor_type.shape.dim] == [1, 16, SPEC.width]
    assert_same(run(static, feeds(SPEC, 1)[0])[0], expected(name))


@each_builder
@pytest.mark.parametrize("dialect", DIALECTS)
def test_samples_of_a_dynamic_batch_do_not_mix(name: str, dialect: Dialect) -> None:
    model = BUILDERS[name](replace(SPEC, dialect=dialect))
    samples = feeds(model, 2)
    (both,) = run(model, {"x": np.concatenate([sample["x"] for sample in samples])})
    assert_same(both, np.concatenate([run(model, sample)[0] for sample in samples]))


@pytest.mark.parametrize("dialect", DIALECTS)
@pytest.mark.parametrize("tokens", [None, 7])
def test_rms_swiglu_is_causal(dialect: Dialect, tokens: int | None) -> None:
    model = synthetic.rms_swiglu(replace(SPEC, tokens=tokens, dialect=dialect))
    x = feeds(replace(SPEC, tokens=7), 1)[0]["x"]
    changed = x + (np.arange(7, dtype=np.float32) > 3)[:, None]
    before, after = (run(model, {"x": tensor})[0] for tensor in (x, changed))
    np.testing.assert_array_equal(before[:, :4], after[:, :4])
    assert (before[:, 4:] != after[:, 4:]).any(axis=2).all()


@pytest.mark.parametrize(("window", "tokens"), [(4, 64), (2, 64), (3, 36)])
def test_windows_stay_apart_until_shifted(window: int, tokens: int) -> None:
    spec = replace(SPEC, layers=1, tokens=tokens, outliers=Outliers(0))
    side, shift = isqrt(tokens), window // 2
    x = feeds(spec, 1)[0]["x"]
    changed = x.copy()
    changed[0, 0] += 1
    model = synthetic.windowed(spec, window)
    before, after = (run(model, {"x": tensor})[0] for tensor in (x, changed))
    moved = (before != after).any(axis=2).reshape(side, side)
    wanted = np.zeros((side, side), bool)
    wanted[-window:, -window:] = True
    np.testing.assert_array_equal(moved, np.roll(wanted, (shift, shift), (0, 1)))


def test_windowed_shifts_every_other_layer() -> None:
    models = [synthetic.windowed(replace(SPEC, layers=layers)) for layers in (1, 4)]
    assert [op_types(model).count("Concat") for model in models] == [4, 8]


@pytest.mark.parametrize("dialect", DIALECTS)
@each_builder
def test_norms_are_spelled_by_dialect_and_opset(name: str, dialect: Dialect) -> None:
    for opset in OPSETS:
        ops = op_types(BUILDERS[name](replace(SPEC, dialect=dialect, opset=opset)))
        fused = dialect == "fused" and opset >= (23 if NORM[name] == "RMSNormalization" else 17)
        assert ops.count(NORM[name]) == (5 if fused else 0)
        assert ("ReduceMean" in ops) != fused
        assert ("Constant" in ops) == (dialect != "fused")
        assert ("Cast" in ops) == (dialect == "paddle")


def norm_outputs(name: str, outliers: Outliers) -> list[Array]:
    """What each norm of a model gives, shape [tokens, width]."""
    model = BUILDERS[name](replace(SPEC, opset=23, tokens=64, outliers=outliers))
    values = [node.output[0] for node in model.graph.node if node.op_type == NORM[name]]
    return [x.reshape(-1, SPEC.width) for x in run(model, feeds(model, 1)[0], *values)[1:]]


def ordinary_decibels(x: Array) -> float:
    """What symmetric per-tensor int8 leaves of the median channel, signal over noise."""
    scale = np.abs(x).max() / 127
    noise = np.round(x / scale) * scale - x
    return float(np.median(10 * np.log10((x**2).mean(axis=0) / (noise**2).mean(axis=0))))


@each_builder
@pytest.mark.parametrize(("channels", "count"), [(0, 0), (2, 2), (0.0625, 4)])
def test_as_many_channels_stand_out_as_asked(name: str, channels: float, count: int) -> None:
    first, *later = norm_outputs(name, Outliers(channels))
    assert len(later) == 4
    size = np.abs(first).mean(axis=0)
    assert (size > 20 * np.median(size)).sum() == count


@each_builder
def test_outliers_spoil_the_ordinary_channels(name: str) -> None:
    for clean, spoiled in zip(norm_outputs(name, Outliers(0)), norm_outputs(name, Outliers()), strict=True):
        size = np.sort(np.abs(spoiled).mean(axis=0))
        assert 20 < size[-2] / np.median(size) <= size[-1] / np.median(size) < 200
        assert ordinary_decibels(clean) > 30
        assert ordinary_decibels(spoiled) < 20


@each_builder
def test_the_seed_decides_the_weights(name: str) -> None:
    assert BUILDERS[name](SPEC) == BUILDERS[name](SPEC)
    assert BUILDERS[name](SPEC) != BUILDERS[name](replace(SPEC, seed=1))


@each_builder
def test_linears_have_a_bias_unless_told(name: str) -> None:
    for bias in (True, False):
        names = [tensor.name for tensor in BUILDERS[name](replace(SPEC, bias=bias)).graph.initializer]
        assert any("bias" in tensor for tensor in names) == (bias and name != "rms_swiglu")
        assert any("beta" in tensor for tensor in names) == (name != "rms_swiglu")


@pytest.mark.parametrize(("batch", "tokens", "shape"), [(None, None, (1, 16, 64)), (3, 5, (3, 5, 64))])
def test_feeds_fit_the_model(batch: int | None, tokens: int | None, shape: tuple[int, ...]) -> None:
    spec = replace(SPEC, batch=batch, tokens=tokens)
    first, second = (sample["x"] for sample in feeds(spec, 2, seed=1))
    assert first.shape == shape
    assert not np.array_equal(first, second)
    np.testing.assert_array_equal(feeds(synthetic.pre_norm(spec), 2, seed=1)[1]["x"], second)


def test_impossible_specs_are_refused() -> None:
    with pytest.raises(ValueError, match="width 65"):
        Transformer(width=65)
    with pytest.raises(ValueError, match="opset 10"):
        Transformer(opset=10)
    with pytest.raises(ValueError, match="dialect 'tensorflow'"):
        Transformer(dialect=cast(Dialect, "tensorflow"))
    for tokens, window in ((15, 2), (16, 3)):
        with pytest.raises(ValueError, match=f"{tokens} tokens"):
            synthetic.windowed(replace(SPEC, tokens=tokens), window)


@pytest.mark.slow
def test_vit_b16_has_its_shape_and_sane_activations() -> None:
    model = synthetic.vit_b16()
    assert op_types(model).count("LayerNormalization") == 25
    assert sum(tuple(tensor.dims) == (768, 3072) for tensor in model.graph.initializer) == 12
    (y,) = run(model, feeds(model, 1)[0])
    assert y.shape == (1, 197, 768)
    assert 0.5 < y.std() < 10
