"""Every model of the zoo: canonical form, and then a random transform at every site, leave its function as it is."""

from functools import cache

import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime as ort
import pytest
from onnx import TensorProto
from onnx.reference import ReferenceEvaluator

from models.subject import Array
from models.zoo import ZOO, feeds
from requant.ir import canonicalize, load
from requant.ir.channels.find import Site, find_sites
from requant.ir.transform.apply import ChannelTransform, apply_transform

pytest.importorskip("torch")
pytest.importorskip("transformers")
pytestmark = [pytest.mark.exporter, pytest.mark.filterwarnings("ignore")]  # the exporters warn about themselves

ROUNDING: dict[int, float] = {TensorProto.FLOAT16: 2e-2, TensorProto.BFLOAT16: 1e-1}
"""What the output of a model in a short element type may differ by, relative to its norm."""

each_model = pytest.mark.parametrize("name", ZOO)


@cache
def exported(name: str) -> onnx.ModelProto:
    return ZOO[name]()


@cache
def expected(name: str) -> list[Array]:
    return outputs(name, exported(name))


def outputs(name: str, model: onnx.ModelProto) -> list[Array]:
    feed = feeds(exported(name))[0]
    if TensorProto.BFLOAT16 in element_types(name):  # ONNX Runtime has no kernels for it on a CPU
        return [np.asarray(y) for y in ReferenceEvaluator(model).run(None, feed)]
    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    session = ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return [np.asarray(y) for y in session.run(None, feed)]


def element_types(name: str) -> set[int]:
    return {tensor.data_type for tensor in exported(name).graph.initializer}


def tolerance(name: str, rounding: float) -> float:
    return max(ROUNDING.get(dtype, rounding) for dtype in element_types(name) | {TensorProto.FLOAT})


def deviation(name: str, model: ir.Model) -> float:
    pairs = zip(expected(name), outputs(name, ir.to_proto(model)), strict=True)
    doubles = [(a.astype(np.float64), b.astype(np.float64)) for a, b in pairs]
    assert all(a.shape == b.shape for a, b in doubles)
    return max(float(np.linalg.norm(a - b) / np.linalg.norm(a)) for a, b in doubles)


def transform(site: Site, rng: np.random.Generator) -> ChannelTransform:
    scale = 4.0 ** rng.uniform(-1, 1, site.channels)
    shift = rng.standard_normal(site.channels)
    return ChannelTransform(scale, shift if site.shift_blocked is None else np.zeros_like(shift))


@each_model
def test_it_runs_on_its_feeds(name: str) -> None:
    for y in expected(name):
        assert np.isfinite(y.astype(np.float64)).all()
        assert y.astype(np.float64).std() > 0.1


@each_model
def test_canonical_form_keeps_the_function(name: str) -> None:
    model = load(exported(name))
    canonicalize(model)
    assert deviation(name, model) <= tolerance(name, 1e-4)


@each_model
def test_a_random_basis_at_every_site_keeps_the_function(name: str) -> None:
    model, rng = load(exported(name)), np.random.default_rng(0)
    canonicalize(model)
    for site in find_sites(model):
        if isinstance(site, Site):
            apply_transform(site, transform(site, rng))
    assert deviation(name, model) <= tolerance(name, 1e-3)
