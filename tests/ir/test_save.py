"""A model appears whole or not at all, wherever its weights come from."""

import os
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import TypeAlias

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from numpy.typing import NDArray

from models.synthetic import Transformer, pre_norm
from requant.errors import OutputError
from requant.ir.load import load
from requant.ir.save import INLINE_LIMIT, save

Compute: TypeAlias = Callable[[ir.Model], list[NDArray[np.generic]]]
SAVING = import_module("requant.ir.save")
SPEC = Transformer(width=8, heads=2, layers=1)


def _lazy(model: ir.Model, evaluate: Callable[[NDArray[np.generic]], NDArray[np.generic]]) -> ir.Model:
    """Copy ``model`` with weights of two or more axes that ``evaluate`` computes when they are written."""
    for value in model.graph.initializers.values():
        tensor = value.const_value
        if tensor is not None and len(tensor.shape) > 1:

            def compute(tensor: ir.TensorProtocol = tensor) -> ir.TensorProtocol:
                return ir.tensor(evaluate(tensor.numpy()))

            value.const_value = ir.LazyTensor(compute, dtype=tensor.dtype, shape=ir.Shape(tensor.shape.numpy()))
    return model


def _broken(weight: NDArray[np.generic]) -> NDArray[np.generic]:
    raise RuntimeError("cannot be computed")


def _files(folder: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in folder.iterdir()}


def _weights(model: ir.Model) -> dict[str, NDArray[np.generic]]:
    return {
        name: value.const_value.numpy().copy()
        for name, value in model.graph.initializers.items()
        if value.const_value is not None
    }


@pytest.mark.parametrize("limit", [INLINE_LIMIT, 100], ids=["inline", "external"])
def test_lazy_weights_are_written_as_they_compute(limit: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(SAVING, "INLINE_LIMIT", limit)
    model = _lazy(load(pre_norm(SPEC)), lambda weight: weight * 2)
    save(model, tmp_path / "model.onnx")
    actual = _weights(load(tmp_path / "model.onnx"))
    assert set(_files(tmp_path)) == {"model.onnx"} | ({"model.onnx.data"} if limit == 100 else set())
    original = _weights(load(pre_norm(SPEC)))
    assert actual.keys() == original.keys()
    for name, weight in original.items():
        np.testing.assert_array_equal(actual[name], weight * (2 if weight.ndim > 1 else 1))
    onnx.checker.check_model(tmp_path / "model.onnx")
    assert any(isinstance(value.const_value, ir.LazyTensor) for value in model.graph.initializers.values())


@pytest.mark.parametrize("limit", [INLINE_LIMIT, 100], ids=["inline", "external"])
@pytest.mark.parametrize("present", [False, True])
def test_a_failed_write_leaves_everything_as_it_was(
    limit: int, present: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(SAVING, "INLINE_LIMIT", limit)
    if present:
        save(load(pre_norm(SPEC)), tmp_path / "model.onnx")
    before = _files(tmp_path)
    with pytest.raises((RuntimeError, ir.serde.SerdeError)):
        save(_lazy(load(pre_norm(SPEC)), _broken), tmp_path / "model.onnx")
    assert _files(tmp_path) == before


def test_the_data_appears_before_the_graph_that_needs_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    appeared: list[str] = []
    replace = os.replace

    def record(source: Path, target: Path) -> None:
        if Path(target).parent == tmp_path:
            appeared.append(target.name)
        replace(source, target)

    model = load(pre_norm(SPEC))
    monkeypatch.setattr(SAVING, "INLINE_LIMIT", 100)
    monkeypatch.setattr(os, "replace", record)
    save(model, tmp_path / "model.onnx")
    assert appeared == ["model.onnx.data", "model.onnx"]


def test_a_full_disk_is_an_output_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(source: object, target: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(OutputError, match=r"model\.onnx: cannot be written \(No space left on device\)"):
        save(load(pre_norm(SPEC)), tmp_path / "model.onnx")
    assert _files(tmp_path) == {}


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("absent/model.onnx", "does not exist"),
        ("file/model.onnx", "does not exist"),
        ("folder", "is a folder"),
        ("m" * 300, "cannot be written"),
    ],
)
def test_places_where_nothing_can_be_written_are_refused(name: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").touch()
    with pytest.raises(OutputError, match=message):
        save(load(pre_norm(SPEC)), tmp_path / name)
    assert {path.name for path in tmp_path.rglob("*")} == {"folder", "file"}


@pytest.mark.skipif(os.geteuid() == 0, reason="root writes everywhere")
def test_a_read_only_folder_is_refused(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(OutputError, match="not writable"):
        save(load(pre_norm(SPEC)), tmp_path / "model.onnx")


@pytest.mark.parametrize("limit", [INLINE_LIMIT, 100], ids=["inline", "external"])
@pytest.mark.parametrize("name", ["elsewhere/model.onnx", "source/model.onnx", "source/other.onnx"])
def test_external_weights_are_taken_along(
    limit: int, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, compute: Compute
) -> None:
    for folder in ("source", "elsewhere"):
        (tmp_path / folder).mkdir()
    source = tmp_path / "source" / "model.onnx"
    onnx.save(pre_norm(SPEC), source, save_as_external_data=True, location="model.onnx.data", size_threshold=0)
    model = load(source)
    monkeypatch.setattr(SAVING, "INLINE_LIMIT", limit)
    save(model, tmp_path / name)
    if "source" not in name:
        for file in source.parent.iterdir():
            file.unlink()
    np.testing.assert_array_equal(compute(load(tmp_path / name))[0], compute(load(pre_norm(SPEC)))[0])
