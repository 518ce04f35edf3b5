"""The advice: layers by what they cost the outputs, and plans that trade loss for cost."""

import json
from copy import deepcopy
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

import requant
from models.few import FAMILIES
from requant.cli.run import run

CHANNEL, FACTOR = 0, 30


def broken(model: onnx.ModelProto, layer: str, consumer: str) -> onnx.ModelProto:
    """Scale an output channel of the MatMul called ``layer``, with its bias, and undo that in the ``consumer``."""
    copy = deepcopy(model)
    nodes = {node.name: node for node in copy.graph.node}
    biases = [node for node in copy.graph.node if node.op_type == "Add" and nodes[layer].output[0] in node.input]
    weights = {tensor.name: tensor for tensor in copy.graph.initializer}
    scaled = [nodes[layer].input[1], *(name for node in biases for name in node.input if name in weights)]
    for name, factor in (*((name, FACTOR) for name in scaled), (nodes[consumer].input[1], 1 / FACTOR)):
        array = numpy_helper.to_array(weights[name]).copy()
        array[(CHANNEL,) if name == nodes[consumer].input[1] else (..., CHANNEL)] *= factor
        weights[name].CopyFrom(numpy_helper.from_array(array, name))
    return copy


@pytest.mark.slow
@pytest.mark.parametrize(
    ("family", "layer", "consumer"),
    [
        ("mlp", "matmul_3", "matmul_6"),
        ("lora", "matmul_4", "matmul_5"),
        ("llama", "layers.1.matmul_7", "layers.1.matmul_8"),
    ],
)
def test_what_was_broken_on_purpose_comes_first(family: str, layer: str, consumer: str) -> None:
    """The layer that reads the channel has steps too coarse for all others; the recipe that rewrites nothing is hit."""
    network = FAMILIES[family](1)
    advice = requant.advise(broken(network.model, layer, consumer), network.feeds(16, 0), "int8-plain", "tensorrt")
    assert advice.layers[0].name == consumer
    cause = advice.layers[0].cause
    assert cause.startswith(f"channel {CHANNEL} of its input, behind ")
    assert layer in cause


def test_noises_of_layers_alone_add_up_and_the_curve_rises() -> None:
    family = FAMILIES["mlp"](1)
    advice = requant.advise(family.model, family.feeds(24, 0), "int8", "tensorrt")
    assert sum(cost.share for cost in advice.layers) == pytest.approx(1)
    assert sum(cost.multiplications for cost in advice.layers) == pytest.approx(1)
    together = -10 * np.log10(sum(10 ** (-cost.sqnr / 10) for cost in advice.layers))
    assert together == pytest.approx(advice.curve[0].sqnr, abs=1.5)
    sqnr, costs = ([getattr(point, name) for point in advice.curve] for name in ("sqnr", "multiplications"))
    assert sqnr == sorted(sqnr)
    assert costs == sorted(set(costs)), "a point that costs as much as a better one is left out"
    assert len(sqnr) > 2
    names = {cost.name for cost in advice.layers}
    assert all(names > set(point.in_float) for point in advice.curve)
    assert "held-out" in advice.samples


def test_what_float_costs_has_a_time_on_the_cpu() -> None:
    family = FAMILIES["mlp"](1)
    advice = requant.advise(family.model, family.feeds(16, 0), "int8-plain", "cpu")
    times = {cost.name: cost.milliseconds or 0.0 for cost in advice.layers}
    assert all(time > 0 for time in times.values())
    for point in advice.curve:
        assert point.milliseconds == pytest.approx(sum(times[name] for name in point.in_float))


def test_a_plan_on_the_curve_is_what_keep_gives() -> None:
    family = FAMILIES["lora"](1)
    data = family.feeds(24, 0)
    point = requant.advise(family.model, data, "int8-plain", "tensorrt").curve[1]
    result = requant.optimize(family.model, data, "int8-plain", "tensorrt", point.in_float, precision="float32")
    assert result.report.outputs["y"].sqnr == pytest.approx(point.sqnr, abs=1e-6)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    family = FAMILIES["mlp"](1)
    onnx.save(family.model, tmp_path / "model.onnx")
    np.savez(tmp_path / "data.npz", x=np.concatenate([feed["x"] for feed in family.feeds(24, 0)]))
    return tmp_path


def test_the_command_prints_tables_and_json(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["advise", str(folder / "model.onnx"), "-c", str(folder / "data.npz"), "-t", "tensorrt"]
    assert run([*arguments, "--chart", str(folder / "curve.svg")]) == 0
    assert (folder / "curve.svg").read_text(encoding="utf-8").count("<svg") == 1
    printed = capsys.readouterr().out
    assert "matmul_0" in printed
    assert "dB" in printed
    assert run([*arguments, "--json"]) == 0
    content = json.loads(capsys.readouterr().out)
    assert {"layers", "curve", "samples"} <= content.keys()
    costs = {"multiplications", "bytes", "milliseconds"}
    assert content["layers"][0].keys() == {"name", "op_type", "sqnr", "share", "cause"} | costs
    assert content["layers"][0]["milliseconds"] is None, "a GPU has no prices"
    assert content["curve"][0]["in_float"] == []
    assert run([*arguments, "--keep", "*"]) == 3


BAD = {
    "negative": ("optimize", ["--min-sqnr", "-3"], "min_sqnr takes a number of decibels above 0, not -3"),
    "no number": ("optimize", ["--min-sqnr", "much"], "valid number"),
    "nan": ("optimize", ["--min-sqnr", "nan"], "not nan"),
    "no data": ("optimize", ["--min-sqnr", "30"], "min_sqnr=30 needs calibration data"),
    "none to keep": ("optimize", ["--keep-costliest", "-1"], "--keep-costliest"),
    "two ways": ("optimize", ["--keep-costliest", "1", "--keep", "a"], "takes no --keep"),
    "drop of nothing": ("optimize", ["--max-drop", "1"], "max_drop=1 needs a metric: kl, top1, or a function"),
    "no such metric": ("optimize", ["--metric", "f1"], "unknown metric 'f1': choose one of sqnr, kl, top1"),
    "no such function": ("optimize", ["--metric", "os:none"], "metric 'os:none': cannot be imported"),
    "labels of nothing": ("optimize", ["--labels", "data.npz"], "data.npz: no such file"),
    "no prices": ("optimize", ["-t", "tensorrt", "--max-latency", "60%"], "max_latency=60% needs prices of kernels"),
    "share": ("optimize", ["--max-latency", "160%"], "share of the float model's time up to 100%, not '160%'"),
    "bytes": ("optimize", ["--max-bytes", "5 apples"], "such as \"50MB\", not '5 apples'"),
    "effort": ("optimize", ["--effort", "much"], "'much' is not one of"),
    "bytes of nothing": ("optimize", ["--max-bytes", "5MB"], "max_bytes=5000000 needs calibration data"),
    "advise": ("advise", [], "advise needs calibration data"),
}


@pytest.mark.parametrize(("command", "options", "message"), BAD.values(), ids=BAD.keys())
def test_bad_usage_gets_one_line(
    folder: Path, command: str, options: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    before = sorted(folder.iterdir())
    assert run([command, str(folder / "model.onnx"), *options]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert message in line
    assert sorted(folder.iterdir()) == before


def test_a_limit_that_cannot_be_met_leaves_the_model_in_float(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    paths = [str(folder / "model.onnx"), "-c", str(folder / "data.npz"), "-o", str(folder / "out.onnx")]
    assert run(["optimize", *paths, "--min-sqnr", "90"]) == 3
    assert "min_sqnr=90" in capsys.readouterr().err
    assert run(["optimize", *paths, "--min-sqnr", "20"]) == 0
    assert run(["optimize", *paths, "--keep-costliest", "1"]) == 0


def test_limits_and_metrics_of_the_command_line(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The caller's function is found in the current folder; a limit out of reach leaves nothing behind."""
    monkeypatch.chdir(folder)
    (folder / "own_figures.py").write_text(
        "def right(outputs, labels):\n    return (outputs['y'].argmax(-1) == labels).mean()\n"
    )
    (folder / "labels.txt").write_text("3\n" * 24)
    paths = ["model.onnx", "-c", "data.npz", "-o", "out.onnx", "-t", "tensorrt", "--recipe", "int8-plain", "--json"]
    judged = ["--metric", "own_figures:right", "--labels", "labels.txt", "--max-drop", "1", "--effort", "low"]
    assert run(["optimize", *paths, *judged, "--max-bytes", "1MB"]) == 0
    limits = {limit["name"]: limit for limit in json.loads(capsys.readouterr().out)["limits"]}
    assert limits.keys() == {"min_sqnr", "max_drop", "max_bytes"}
    assert limits["max_drop"]["unit"] == "own_figures:right"
    (folder / "out.onnx").unlink()
    assert run(["optimize", *paths, "--max-bytes", "1kB"]) == 2
    assert "max_bytes=1000: no plan is as small, the least has " in capsys.readouterr().err
    assert run(["optimize", *paths, "--metric", "top1", "--labels", "labels.txt", "-c", "labels.txt"]) == 2
    assert not (folder / "out.onnx").exists()
    assert run(["optimize", "model.onnx", "-c", "data.npz", "-o", "labels.txt", *judged]) == 2
    assert "labels.txt: is the input" in capsys.readouterr().err
