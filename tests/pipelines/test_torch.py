"""A module of PyTorch: exported in memory or to files, calibrated with whatever a DataLoader yields."""

import runpy
import sys
from collections.abc import Callable, Iterable
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import onnx
import onnx_ir as ir
import pytest

import requant
from requant.calib.sources import Data
from requant.ir import load
from requant.ir.save import to_bytes
from requant.runtime.session import runner

if TYPE_CHECKING:
    import torch
else:
    torch = pytest.importorskip("torch")

pytestmark = [pytest.mark.exporter, pytest.mark.filterwarnings("ignore")]  # the exporters warn about themselves

WIDTH, TOKENS, SAMPLES = 64, 16, 32


@pytest.fixture(scope="module")
def module() -> torch.nn.Module:
    """Two layers between norms, the first of which makes four channels stand out."""
    torch.manual_seed(0)
    layers = torch.nn.Linear(WIDTH, 4 * WIDTH), torch.nn.GELU(), torch.nn.Linear(4 * WIDTH, WIDTH)
    module = torch.nn.Sequential(torch.nn.LayerNorm(WIDTH), *layers, torch.nn.LayerNorm(WIDTH))
    with torch.no_grad():
        module[0].weight[:4] *= 20
    return module.eval()


@pytest.fixture(scope="module")
def program(module: torch.nn.Module) -> torch.onnx.ONNXProgram:
    sizes = {0: torch.export.Dim("batch"), 1: torch.export.Dim("tokens")}
    example = (torch.randn(2, TOKENS, WIDTH),)
    return torch.onnx.export(module, example, dynamo=True, dynamic_shapes=(sizes,), verbose=False)


def samples() -> torch.Tensor:
    return torch.randn(SAMPLES, TOKENS, WIDTH, generator=torch.Generator().manual_seed(1))


def loader(collate: Callable[[list[tuple[torch.Tensor, int]]], object] | None = None) -> Iterable[object]:
    """By default batches are lists of a tensor and its labels."""
    labelled = list(zip(samples(), range(SAMPLES), strict=True))
    batches: Iterable[object] = torch.utils.data.DataLoader(labelled, batch_size=8, collate_fn=collate)
    return batches


def stacked(labelled: list[tuple[torch.Tensor, int]]) -> torch.Tensor:
    return torch.stack([sample for sample, _ in labelled])


def sqnr(module: torch.nn.Module, model: ir.Model, *sizes: int) -> float:
    """In dB, on random data of a batch and a number of tokens that nobody has seen."""
    x = torch.randn(*sizes, WIDTH, generator=torch.Generator().manual_seed(2))
    wanted = module(x).numpy(force=True).astype(np.float64)
    [name] = [value.name or "" for value in model.graph.inputs]
    return float(10 * np.log10((wanted**2).sum() / ((wanted - runner(model)({name: x.numpy()})[0]) ** 2).sum()))


@pytest.mark.parametrize("target", ["cpu", "tensorrt"])
def test_a_dynamic_program_is_quantized_in_memory_and_left_alone(
    module: torch.nn.Module, program: torch.onnx.ONNXProgram, target: str
) -> None:
    before = program.model_proto.SerializeToString()
    weights = {name: weight.clone() for name, weight in module.state_dict().items()}
    result = requant.optimize(program, loader(), target=target)
    assert sum(layer.quantized for layer in result.report.layers) == 2
    for sizes in ((1, 5), (3, 20)):
        assert sqnr(module, result.model, *sizes) > 25
    assert program.model_proto.SerializeToString() == before
    for name, weight in module.state_dict().items():
        assert torch.equal(weight, weights[name])
    shared = program.model.graph.initializers["0.weight"].const_value
    assert shared is not None
    assert shared.numpy().ctypes.data == module.state_dict()["0.weight"].data_ptr()


LOADERS: dict[str, Callable[[], Data]] = {
    "called for each pass": lambda: loader,
    "part of a loader": lambda: islice(loader(), SAMPLES),
    "tensors": lambda: loader(stacked),
    "tensors that need their gradients": lambda: loader(lambda batch: stacked(batch).requires_grad_()),
    "tuples": lambda: loader(lambda batch: (stacked(batch),)),
    "dictionaries with labels": lambda: loader(lambda batch: {"input": stacked(batch), "labels": torch.zeros(8)}),
}


@pytest.mark.parametrize("data", LOADERS.values(), ids=LOADERS.keys())
def test_whatever_the_batches_look_like_the_model_is_the_same(
    program: torch.onnx.ONNXProgram, data: Callable[[], Data]
) -> None:
    assert [value.name for value in program.model.graph.inputs] == ["input"]
    models = [requant.optimize(program, source).model for source in (loader(), data())]
    for model in models:
        assert "32 samples" in model.metadata_props.pop("requant.calibration")
    assert to_bytes(models[0]) == to_bytes(models[1])


def saved(module: torch.nn.Module, program: torch.onnx.ONNXProgram, path: Path) -> None:
    program.save(path, external_data=True)


def scripted(module: torch.nn.Module, program: torch.onnx.ONNXProgram, path: Path) -> None:
    """As the TorchScript exporter writes beyond 2 GB: a file for each weight."""
    axes = {"input": {0: "batch", 1: "tokens"}}
    example = (torch.randn(2, TOKENS, WIDTH),)
    torch.onnx.export(module, example, path, dynamo=False, input_names=["input"], dynamic_axes=axes)
    model = onnx.load(path)
    path.unlink()
    onnx.save(model, path, save_as_external_data=True, all_tensors_to_one_file=False, size_threshold=0)


@pytest.mark.parametrize("write", [saved, scripted])
def test_files_with_weights_outside_are_quantized_and_left_alone(
    module: torch.nn.Module,
    program: torch.onnx.ONNXProgram,
    tmp_path: Path,
    write: Callable[[torch.nn.Module, torch.onnx.ONNXProgram, Path], None],
) -> None:
    write(module, program, tmp_path / "model.onnx")
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    assert len(before) >= 2
    requant.optimize(tmp_path / "model.onnx", loader(), output=tmp_path / "int8.onnx")
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir() if path.name != "int8.onnx"} == before
    assert sqnr(module, load(tmp_path / "int8.onnx"), 3, 20) > 25


def test_the_example_runs(
    examples: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["torch_export.py", str(tmp_path / "int8.onnx")])
    runpy.run_path(str(examples / "torch_export.py"), run_name="__main__")
    assert "dB against the float model" in capsys.readouterr().out
    assert requant.check(tmp_path / "int8.onnx", "cpu") == []
