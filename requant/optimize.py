"""The verb: load, canonicalize, calibrate, rewrite, verify, plan, lower, measure."""

import os
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

import onnx_ir as ir

from .calib.collect import collect
from .calib.sources import Batches, Data, batches
from .errors import OutputError, RequantError
from .ir.canonical.form import canonicalize
from .ir.linear import find_linears
from .ir.load import Source, describe, load
from .ir.save import require_writable, save
from .ir.sites.find import Site, find_sites
from .ir.validate import refuse_nan, stored_tensors
from .passes.choose_layers import ChooseLayers, unmatched
from .passes.insert_qdq import InsertQDQ
from .passes.plan_quantizers import PlanQuantizers
from .passes.records import layer_records, site_records
from .passes.round_weights import RoundWeights
from .recipe import Recipe, find_recipe
from .report import Report
from .runtime.compare import common_layers, compare
from .runtime.targets import target as find_target
from .runtime.verify import verify

STAGES = ("load", "analyse", "calibrate", "verify", "rewrite", "plan", "lower", "measure", "save")
"""What `optimize` goes through, in order."""

VERIFIED_SAMPLES = 2
MEASURED_SAMPLES = 4

Progress = Callable[[str, int], None]
"""Told the stage and how many steps of it are done."""


class SyntheticCalibrationWarning(UserWarning):
    """No calibration data was given, so ranges come from random inputs: the model's accuracy is not to be trusted."""


@dataclass
class Result:
    """A quantized model, the report on it, and the plan that other engines' artifacts come from."""

    model: ir.Model
    report: Report
    _planned: ir.Model
    _inputs: frozenset[Path]

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the model; see `requant.ir.save`.

        Raises:
            OutputError: the path is one of the input's files, or cannot be written.
        """
        refuse_overwrite(self._inputs, path)
        save(self.model, path)

    def lower(self, target: str) -> ir.Model:
        """The same plan for another engine, without a second calibration.

        Raises:
            TargetError: the engine is unknown.
        """
        return _lowered(self._planned, target, self.report)


def optimize(
    source: Source,
    calibration: Data | None = None,
    recipe: str | Recipe = "int8",
    target: str = "cpu",
    keep: Sequence[str] = (),
    output: str | os.PathLike[str] | None = None,
    *,
    progress: Progress = lambda stage, count: None,
) -> Result:
    """Quantize a float model for an engine, as close to the float model as its 8-bit kernels allow.

    Args:
        source: a path, bytes, an ``onnx.ModelProto``, an ``onnx_ir.Model`` or a ``torch.onnx.ONNXProgram``;
            never modified.
        calibration: an ``.npz``, a folder of them, an iterable of ``{input name: array}``, or a callable that
            returns one. None uses seeded synthetic inputs and warns.
        recipe: a name in `requant.recipe.RECIPES`, or a `Recipe`.
        target: "cpu" or "tensorrt".
        keep: names or glob patterns of nodes to leave in float.
        output: where to write the model, if anywhere; written whole or not at all.
        progress: told each stage and its steps.

    Raises:
        RequantError: one line that says what is wrong with the model, the data or the target.
    """
    chosen, times = find_recipe(recipe), _Stopwatch(progress)
    find_target(target)
    if output is not None:
        require_writable(Path(output))
    with times("load"):
        original = load(source)
        inputs = _files(source, original)
        if output is not None:
            refuse_overwrite(inputs, output)
        refuse_nan(original, describe(source))
    with times("analyse"):
        model = original.clone()
        canonicalize(model)
    report = Report(describe(source), chosen.name, target)
    report.bytes_before = report.bytes_after = _size(original)
    if not any(True for _ in find_linears(model.graph)):
        report.message = "nothing to quantize: the graph has no MatMul, Gemm or Conv with a constant weight"
        return _finished(Result(original, report, original, inputs), output, times)
    if strangers := unmatched(model, keep):
        raise RequantError(f"{describe(source)}: no linear layer is called {strangers[0]!r}, which keep asks for")
    data = _data(calibration, model)
    _calibrate(original, model, data, report, times)
    reference = model.clone()
    _plan(model, data, chosen, ChooseLayers(tuple(keep), target), report, times)
    with times("lower"):
        lowered = _lowered(model, target, report)
    report.sites, report.layers = list(site_records(model)), list(layer_records(lowered))
    if not any(layer.quantized for layer in report.layers):
        report.message = f"nothing to quantize: every linear layer stays in float on {target}"
        return _finished(Result(original, report, model, inputs), output, times)
    with times("measure"):
        measured = compare(reference, lowered, islice(data, MEASURED_SAMPLES))
    report.bytes_after, report.outputs, report.layer_distances = _size(lowered), measured.outputs, measured.layers
    return _finished(Result(lowered, report, model, inputs), output, times)


def refuse_overwrite(inputs: frozenset[Path], output: str | os.PathLike[str]) -> None:
    """Raise OutputError when writing ``output``, or the weights beside it, would replace one of ``inputs``."""
    for path in (Path(output), Path(f"{os.fspath(output)}.data")):
        if path.resolve() in inputs:
            raise OutputError(f"{path}: is the input; choose another output")


def _files(source: Source, model: ir.Model) -> frozenset[Path]:
    """The files that ``model`` was read from: its own, and those of its weights."""
    own = [Path(source)] if isinstance(source, str | os.PathLike) else []
    weights = [Path(tensor.path) for tensor in stored_tensors(model) if isinstance(tensor, ir.ExternalTensor)]
    return frozenset(path.resolve() for path in own + weights)


def _data(calibration: Data | None, model: ir.Model) -> Batches:
    if calibration is None:
        warnings.warn(
            "no calibration data: ranges come from random inputs and the accuracy means nothing; "
            "pass real samples for real use",
            SyntheticCalibrationWarning,
            stacklevel=3,
        )
    return batches(calibration, model)


def _calibrate(original: ir.Model, model: ir.Model, data: Batches, report: Report, times: "_Stopwatch") -> None:
    """Collect statistics on ``model``, and make sure that it is still what ``original`` was."""
    with times("calibrate"):
        samples = collect(model, data, progress=lambda count: times.progress("calibrate", count))
    report.calibration = {"source": data.origin, "samples": samples}
    with times("verify"):
        verify(original, model, islice(data, 1), done="the canonical form")


def _plan(
    model: ir.Model, data: Batches, chosen: Recipe, layers: ChooseLayers, report: Report, times: "_Stopwatch"
) -> None:
    """Rewrite ``model`` and give it the quantizers that every engine's artifact comes from."""
    layers(model)
    with times("rewrite"):
        report.verification = _rewrite(model, chosen, data)
    with times("plan"):
        PlanQuantizers(chosen.ranges, chosen.bits)(model)
        if chosen.rounding == "compensated":
            RoundWeights()(model)


def _rewrite(model: ir.Model, chosen: Recipe, data: Batches) -> float:
    """Run the recipe's exact passes, each verified against the model before it."""
    worst = 0.0
    for rewrite in chosen.rewrites:
        before = model.clone()
        places = {
            reader.linear.output.name or "": site.name
            for site in find_sites(model)
            if isinstance(site, Site)
            for reader in site.readers
        }
        if rewrite(model).modified:
            watched = {name: places.get(name, "") for name in common_layers(before, model)}
            feeds = islice(data, VERIFIED_SAMPLES)
            worst = max(worst, verify(before, model, feeds, done=type(rewrite).__name__, watched=watched))
    return worst


def _lowered(planned: ir.Model, target: str, report: Report) -> ir.Model:
    model = planned.clone()
    InsertQDQ(target)(model)
    model.metadata_props.update(
        {
            "requant.version": report.versions.get("requant", ""),
            "requant.recipe": report.recipe,
            "requant.target": target,
            "requant.calibration": f"{report.calibration.get('source')}, {report.calibration.get('samples')} samples",
        }
    )
    return model


def _finished(result: Result, output: str | os.PathLike[str] | None, times: "_Stopwatch") -> Result:
    if output is not None:
        with times("save"):
            result.save(output)
    result.report.times = times.seconds
    return result


def _size(model: ir.Model) -> int:
    """Bytes of weights."""
    return sum(tensor.nbytes for tensor in stored_tensors(model))


@dataclass
class _Stopwatch:
    progress: Progress
    seconds: dict[str, float] = field(default_factory=dict)

    @contextmanager
    def __call__(self, stage: str) -> Iterator[None]:
        self.progress(stage, 0)
        start = time.perf_counter()
        yield
        self.seconds[stage] = time.perf_counter() - start
