"""ONNX Runtime sessions over models in memory, and what runs a model on any target."""

import importlib
import os
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from ..errors import SourceError, TargetError
from ..ir.load import load
from . import openvino
from .feeds import Feed
from .loading import load_provider
from .model_file import fingerprint, readable
from .placement import RECORD, require_placement
from .profiles import Profiles
from .providers import CPU, Options, Provider, provider
from .targets import processor

if TYPE_CHECKING:
    import onnxruntime

Run = Callable[[Feed], list[NDArray[np.generic]]]
"""Runs a model on one feed and returns its outputs."""


def session(
    model: ir.Model | str | Path,
    target: str = "cpu",
    *,
    optimized: bool = True,
    threads: int = 0,
    cache: str | Path | None = None,
    profiles: Profiles | None = None,
    options: Mapping[str, str] | None = None,
) -> "onnxruntime.InferenceSession":
    """An ONNX Runtime session on the provider of ``target``, which never falls back without saying so.

    Args:
        model: the model, or the path of one.
        target: a name in `requant.runtime.TARGETS`, apart from "openvino": `runner` runs that.
        optimized: False turns all graph optimizations off, so that the graph is computed as it is written.
        threads: intra-op threads; 0 lets ONNX Runtime choose.
        cache: a folder where TensorRT keeps its engines and timings; made if it is not there. None builds them anew.
        profiles: shapes that TensorRT builds for, by dynamic input; None builds for what comes, when it comes.
        options: the provider's own options, before ours.

    Raises:
        TargetError: the provider is not installed or was not loaded, or does not take the model.
        SourceError: ONNX Runtime does not load the model.
        OutputError: the cache cannot be made.

    Warns:
        FallbackWarning: some nodes run elsewhere; the text says which.
    """
    chosen = provider(target)
    graph = model if isinstance(model, ir.Model) else (load(model) if chosen.examines else None)
    settings = _settings(chosen, graph, optimized=optimized, threads=threads)
    with readable(model) as source:
        own = chosen.own_options(graph, profiles or {})
        if cache is not None:
            own |= chosen.cache_options(cache, fingerprint(source))
        live = _open(source, chosen, settings, own | dict(options or {}))
    require_placement(live, chosen)
    return live


def require_loadable(model: ir.Model, target: str) -> None:
    """Open an artifact for this machine's CPU once as its user will, with the engine's optimizations on.

    They can break a graph that loads as it is written. Artifacts for other engines are not opened.

    Raises:
        TargetError: it does not load.
    """
    if target not in ("cpu", processor()):
        return
    try:
        session(model, "cpu", threads=1)
    except SourceError as error:
        raise TargetError(
            f"the artifact would be of no use with onnxruntime {engine().__version__}: {error}"
        ) from error


def runner(
    model: ir.Model, taps: Sequence[str] = (), *, target: str = "cpu", optimized: bool = False, threads: int = 0
) -> Run:
    """A function that runs ``model`` on one feed and returns its outputs, then the values named ``taps``.

    With the target "openvino" that is OpenVINO, and ``optimized`` has no meaning.
    """
    source = tapped(model, taps) if taps else model
    names = [output.name or "" for output in model.graph.outputs] + list(taps)
    if target == "openvino":
        return openvino.runner(source, names, threads=threads)
    live = session(source, target, optimized=optimized, threads=threads)

    def run(feed: Feed) -> list[NDArray[np.generic]]:
        try:
            made = live.run(names, dict(feed))
        except Exception as error:
            if _is_engines(error):
                raise SourceError(f"ONNX Runtime cannot run the model: {_reason(error)}") from error
            raise
        # before 1.27 an output that is an input is a view that does not keep the data alive
        return [feed.get(name, value) for name, value in zip(names, made, strict=True)]

    return run


def tapped(model: ir.Model, taps: Sequence[str]) -> ir.Model:
    """A copy of ``model`` that also outputs the values named ``taps``."""
    copy = model.clone()
    values = ir.convenience.create_value_mapping(copy.graph)
    present = {output.name for output in copy.graph.outputs}
    copy.graph.outputs.extend(values[name] for name in dict.fromkeys(taps) if name not in present)
    return copy


def engine() -> ModuleType:
    """The onnxruntime module, with its telemetry off unless ORT_DISABLE_TELEMETRY says otherwise.

    The variable has to be there when the module is first imported: it sends one event before it can be told not to.

    Raises:
        TargetError: it is not installed; the text says which extra to install.
    """
    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
    try:
        module = importlib.import_module("onnxruntime")
    except ImportError as error:
        raise TargetError(
            "onnxruntime is not installed: pip install 'requant[cpu]', or 'requant[gpu]' on a machine with CUDA"
        ) from error
    if not hasattr(module, "InferenceSession"):  # the folder that an uninstall leaves is a package of its own
        raise TargetError("onnxruntime is damaged: pip install --force-reinstall onnxruntime")
    _turn_telemetry_off()
    return module


@cache
def _turn_telemetry_off() -> None:
    """Tell ONNX Runtime once, in case it was imported before: a user who turns it on afterwards has it on."""
    if os.environ["ORT_DISABLE_TELEMETRY"] == "1":
        importlib.import_module("onnxruntime").disable_telemetry_events()


def _settings(
    chosen: Provider, graph: ir.Model | None, *, optimized: bool, threads: int
) -> "onnxruntime.SessionOptions":
    ort = engine()
    settings = ort.SessionOptions()
    settings.log_severity_level = 4 if chosen.name == CPU else 3  # its errors are raised; other providers say why not
    settings.intra_op_num_threads = threads
    level = chosen.level if optimized else "ORT_DISABLE_ALL"
    settings.graph_optimization_level = getattr(ort.GraphOptimizationLevel, level)
    for key, value in (chosen.entries(graph) | (RECORD if chosen.name != CPU else {})).items():
        settings.add_session_config_entry(key, value)
    return settings


def _open(
    source: str | bytes, chosen: Provider, settings: "onnxruntime.SessionOptions", options: Options
) -> "onnxruntime.InferenceSession":
    ort = engine()
    devices = load_provider(chosen, ort)
    if devices:
        settings.add_provider_for_devices(devices, options)
    named = None if devices else [(chosen.name, options), *chosen.rest, *([] if chosen.name == CPU else [CPU])]
    try:
        return ort.InferenceSession(source, settings, providers=named, enable_fallback=0)
    except Exception as error:
        if not _is_engines(error):
            raise
        kind, who = (SourceError, "ONNX Runtime") if chosen.name == CPU else (TargetError, chosen.name)
        raise kind(f"{who} does not load the model: {_reason(error)}") from error


def _is_engines(error: Exception) -> bool:
    return type(error).__module__.startswith("onnxruntime") or isinstance(error, RuntimeError)


def _reason(error: Exception) -> str:
    """ONNX Runtime's message without its code prefix and source positions, on one line."""
    text = " ".join(str(error).split())
    return text.split(" : ", 3)[-1]
