"""Shared by all tests: the folder `models` as a package, hypothesis' profile, and models written as text."""

import os
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from typing import TypeAlias

import hypothesis
import numpy as np
import onnx
import onnx_ir as ir
import pytest
from numpy.typing import NDArray

from requant.runtime.price_tables import VNNI
from requant.runtime.prices import KERNELS, LAYERS, Prices, Rate, Rates
from requant.runtime.session import runner
from requant.runtime.targets import TARGETS

Arrays: TypeAlias = list[NDArray[np.generic]]

_FREE = Rates(Rate(multiplication=1.0, call=1e9), Rate(multiplication=1e-9, call=1.0))
_DEAR = Rates(Rate(call=1.0), Rate(call=2.0))


def _import_models() -> None:
    folder = Path(__file__).resolve().parents[1] / "models"
    spec = spec_from_file_location("models", folder / "__init__.py", submodule_search_locations=[str(folder)])
    assert spec is not None
    assert spec.loader is not None
    sys.modules["models"] = module_from_spec(spec)
    spec.loader.exec_module(sys.modules["models"])


_import_models()

hypothesis.settings.register_profile(
    "requant",
    derandomize=True,
    deadline=None,
    max_examples=int(os.environ.get("REQUANT_PROPERTY_EXAMPLES", "7")),
)
hypothesis.settings.load_profile("requant")


@pytest.fixture(scope="session")
def build() -> Callable[[str], onnx.ModelProto]:
    """A model from ONNX text without its header; a declared value that nothing makes is a random weight."""
    return _build


@pytest.fixture(scope="session")
def compute() -> Callable[[ir.Model], Arrays]:
    """The outputs of a model on one fixed random feed, with the runtime's own rewrites off."""
    return _compute


@pytest.fixture(scope="session")
def deviation() -> Callable[[Arrays, Arrays], float]:
    """The largest difference between two lists of outputs, over the largest magnitude of the first list's."""
    return _deviation


@pytest.fixture(scope="session", autouse=True)
def one_price_table() -> Iterator[None]:
    """Price the kernels of every processor alike, so that no plan depends on that of the machine."""
    with pytest.MonkeyPatch.context() as patch:
        _set_prices(patch, VNNI)
        yield


@pytest.fixture
def integers_are_free(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let integers be so much faster than float that networks of any size run on them."""
    _set_prices(monkeypatch, _without_borders(dict.fromkeys(KERNELS, _FREE)))


@pytest.fixture
def integer_convs_are_free(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let Convs be so much faster on integers that those of any size run on them, and all else in float."""
    free = dict.fromkeys(LAYERS, _FREE)
    _set_prices(monkeypatch, _without_borders(dict.fromkeys(KERNELS, _DEAR) | free))


def _without_borders(kernels: Mapping[str, Rates]) -> Prices:
    return Prices("a test", kernels, Rate())


def _set_prices(monkeypatch: pytest.MonkeyPatch, prices: Prices) -> None:
    for name, row in list(TARGETS.items()):
        if row.prices is not None:
            monkeypatch.setitem(TARGETS, name, replace(row, prices=prices))


def _build(text: str) -> onnx.ModelProto:
    header = '<ir_version: 8, opset_import: ["": 17, "com.microsoft": 1]> model '
    model = onnx.parser.parse_model(header + text)
    made = {name for node in model.graph.node for name in node.output}
    rng = np.random.default_rng(len(text))
    for value in [value for value in model.graph.value_info if value.name not in made]:
        dtype = onnx.helper.tensor_dtype_to_np_dtype(value.type.tensor_type.elem_type)
        shape = [dim.dim_value for dim in value.type.tensor_type.shape.dim]
        weight = rng.standard_normal(shape).astype(dtype)
        model.graph.initializer.append(onnx.numpy_helper.from_array(weight, value.name))
        model.graph.value_info.remove(value)
    return model


def _compute(model: ir.Model) -> Arrays:
    rng = np.random.default_rng(0)
    feed: dict[str, NDArray[np.generic]] = {}
    for value in model.graph.inputs:
        assert value.name is not None
        assert value.shape is not None
        assert value.dtype is not None
        shape = [dim if isinstance(dim, int) else (5 if axis else 2) for axis, dim in enumerate(value.shape)]
        feed[value.name] = np.asarray(2 * rng.standard_normal(shape)).astype(value.dtype.numpy())
    return runner(model, threads=1)(feed)


def _deviation(wanted: Arrays, actual: Arrays) -> float:
    pairs = [(a.astype(np.float64), b.astype(np.float64)) for a, b in zip(wanted, actual, strict=True)]
    assert all(a.shape == b.shape for a, b in pairs)
    return max(float(np.abs(a - b).max() / np.abs(a).max()) for a, b in pairs)
