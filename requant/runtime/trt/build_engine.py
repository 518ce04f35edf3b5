"""TensorRT engines: built with its Python API, and cached under a hash of all that they depend on.

Run for real: TensorRT-RTX 1.7.1's parser and builder, ahead of time, without a GPU. Never run: TensorRT 10 and 11
themselves, and any build on a GPU; for them the calls follow the signatures in the bindings of 10.16 and 11.4.
"""

import hashlib
import os
import tempfile
from pathlib import Path

import onnx_ir as ir

from ...errors import OutputError
from ...ir.load import load
from ..gpu import gpu_name
from ..model_file import fingerprint, readable
from ..profiles import Profiles, require_profiles
from .api import PACKAGES, Config, Memory, tensorrt
from .engine_build import EngineBuild


def build_engine(
    model: ir.Model | str | Path,
    cache: str | Path,
    *,
    profiles: Profiles | None = None,
    target: str = "tensorrt",
    capability: str = "",
) -> Path:
    """Build a TensorRT engine of ``model``, unless ``cache`` has it, and return its path.

    Its name is a hash of the graph, the weights, TensorRT's version, the first GPU's name and the options. The timing
    cache lies beside the engines. Files appear whole or not at all.

    The network is strongly typed: layers run in the types of the graph. There is one exception, TensorRT 10 with a
    float32 graph that is quantized in int8: there INT8 and FP16 are allowed, so that the rest runs in half precision.

    Args:
        model: the model, or the path of one.
        cache: the folder to keep engines in.
        profiles: for each dynamic input its smallest, usual and largest shape.
        target: "tensorrt" or "tensorrt-rtx".
        capability: "tensorrt-rtx" alone: build for this compute capability, such as "8.9", without a GPU.

    Raises:
        TargetError: TensorRT is not there, finds no GPU, refuses a node, or cannot build; or an input has no profile.
        SourceError: the model cannot be read.
        OutputError: the folder cannot be written.
    """
    trt = tensorrt(target)
    versions = target, trt.__version__, capability or gpu_name()
    graph = model if isinstance(model, ir.Model) else load(model)
    require_profiles(graph, profiles or {})
    shapes = sorted((name, *map(tuple, three)) for name, three in (profiles or {}).items())
    with readable(model) as source:
        path = Path(cache) / f"{_key(fingerprint(source), *versions, repr(shapes))}.engine"
        if not path.exists():
            job = EngineBuild.start(trt, PACKAGES[target].module, graph)
            timings = path.with_name(f"{_key(*versions)}.timings") if PACKAGES[target].timings else None
            _build(job, source, job.configure(profiles or {}, capability), path, timings)
    return path


def _build(job: EngineBuild, source: str | bytes, config: Config, path: Path, timings: Path | None) -> None:
    """Build with the kernel times of earlier builds, and store those of this one."""
    if timings:
        earlier = timings.read_bytes() if timings.exists() else b""
        config.set_timing_cache(config.create_timing_cache(earlier), ignore_mismatch=False)
    network, parser = job.parse(source)
    _write(path, job.build(network, config))
    del parser  # it owned the network's weights until here
    if timings:
        _write(timings, config.get_timing_cache().serialize())


def _key(*parts: str) -> str:
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:32]


def _write(path: Path, data: Memory) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=path.parent, prefix=".requant.", delete=False) as file:
            file.write(data)
        os.replace(file.name, path)
    except OSError as error:
        raise OutputError(f"{path}: cannot be written ({error.strerror})") from error
