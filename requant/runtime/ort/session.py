"""ONNX Runtime sessions over models in memory."""

import importlib
import os
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

import onnx_ir as ir

from ...errors import SourceError, TargetError
from ...ir.load import load
from ..model_file import fingerprint, readable
from ..profiles import Profiles
from ..targets import processor
from .loading import load_provider
from .placement import RECORD, require_placement
from .provider import CPU, Options, Provider
from .providers import provider as find_provider

if TYPE_CHECKING:
    import onnxruntime


def session(
    model: ir.Model | str | Path,
    target: str = "cpu",
    *,
    optimized: bool = True,
    threads: int = 0,
    cache: str | Path | None = None,
    profiles: Profiles | None = None,
    options: Mapping[str, str] | None = None,
    trace: Path | None = None,
) -> "onnxruntime.InferenceSession":
    """Open an ONNX Runtime session on the provider of ``target``, with a warning where nodes fall back to another.

    Args:
        model: the model, or the path of one.
        target: a name in `requant.runtime.TARGETS`, but not "openvino", which has a runtime of its own.
        optimized: False turns all graph optimizations off, so that the graph is computed as it is written.
        threads: intra-op threads; 0 lets ONNX Runtime choose.
        cache: a folder where TensorRT keeps its engines and timings; made if it is not there. None builds them anew.
        profiles: shapes that TensorRT builds for, by dynamic input; None builds for each new shape as it is run.
        options: options of the provider, which override those chosen here.
        trace: a folder for the graph that is run, "optimized.onnx", and for the profile of its kernels.

    Raises:
        TargetError: the provider is not installed or was not loaded, or does not take the model.
        SourceError: ONNX Runtime does not load the model.
        OutputError: the cache cannot be made.

    Warns:
        FallbackWarning: some nodes run elsewhere; the text says which.
    """
    provider = find_provider(target)
    graph = model if isinstance(model, ir.Model) else (load(model) if provider.examines else None)
    settings = _settings(provider, graph, optimized=optimized, threads=threads)
    if trace is not None:
        _trace(settings, trace)
    with readable(model) as source:
        defaults = provider.model_options(graph, profiles or {})
        if cache is not None:
            defaults |= provider.cache_options(cache, fingerprint(source))
        ort_session = _open(source, provider, settings, defaults | dict(options or {}))
    require_placement(ort_session, provider)
    return ort_session


def require_loadable(model: ir.Model, target: str) -> None:
    """Load an artifact for this machine's CPU as an application would, with the engine's optimizations on.

    They can break a graph that loads without them. Artifacts for other engines are not loaded.

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


def engine() -> ModuleType:
    """Import onnxruntime, with its telemetry off unless ORT_DISABLE_TELEMETRY says otherwise.

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
    """Tell ONNX Runtime once, in case it was imported before: a program that turns it on afterwards has it on."""
    if os.environ["ORT_DISABLE_TELEMETRY"] == "1":
        importlib.import_module("onnxruntime").disable_telemetry_events()


def _settings(
    provider: Provider, graph: ir.Model | None, *, optimized: bool, threads: int
) -> "onnxruntime.SessionOptions":
    ort = engine()
    settings = ort.SessionOptions()
    settings.log_severity_level = 4 if provider.name == CPU else 3  # other providers log reasons
    settings.intra_op_num_threads = threads
    level = provider.level if optimized else "ORT_DISABLE_ALL"
    settings.graph_optimization_level = getattr(ort.GraphOptimizationLevel, level)
    for key, value in (provider.entries(graph) | (RECORD if provider.name != CPU else {})).items():
        settings.add_session_config_entry(key, value)
    return settings


def _trace(settings: "onnxruntime.SessionOptions", folder: Path) -> None:
    """Let a session write its graph, with the weights in a file of their own, and a profile into ``folder``."""
    settings.optimized_model_filepath = str(folder / "optimized.onnx")
    settings.add_session_config_entry("session.optimized_model_external_initializers_file_name", "optimized.data")
    settings.enable_profiling, settings.profile_file_prefix = True, str(folder / "profile")


def _open(
    source: str | bytes, provider: Provider, settings: "onnxruntime.SessionOptions", options: Options
) -> "onnxruntime.InferenceSession":
    ort = engine()
    devices = load_provider(provider, ort)
    if devices:
        settings.add_provider_for_devices(devices, options)
    names = (
        None if devices else [(provider.name, options), *provider.fallbacks, *([] if provider.name == CPU else [CPU])]
    )
    try:
        return ort.InferenceSession(source, settings, providers=names, enable_fallback=0)
    except Exception as error:
        if not is_engine_error(error):
            raise
        kind, name = (SourceError, "ONNX Runtime") if provider.name == CPU else (TargetError, provider.name)
        raise kind(f"{name} does not load the model: {error_text(error)}") from error


def is_engine_error(error: Exception) -> bool:
    """Tell whether ONNX Runtime raised ``error``, and not Python."""
    return type(error).__module__.startswith("onnxruntime") or isinstance(error, RuntimeError)


def error_text(error: Exception) -> str:
    """Return ONNX Runtime's message without its code prefix and source positions, on one line."""
    text = " ".join(str(error).split())
    return text.split(" : ", 3)[-1]
