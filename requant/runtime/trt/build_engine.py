"""TensorRT engines: built with its Python API, and cached under a hash of all that they depend on.

Run for real: TensorRT-RTX 1.7.1's parser and builder, ahead of time, without a GPU. Never run: TensorRT 10 and 11
themselves, and any build on a GPU; for them the calls follow the signatures in the bindings of 10.16 and 11.4.
"""

import hashlib
import os
import tempfile
from dataclasses import dataclass
from pathlib import Path

import onnx_ir as ir

from ...errors import OutputError, TargetError
from ...ir.load import load
from ..dtypes import dtypes
from ..gpu import gpu_name
from ..model_file import fingerprint, readable
from ..profiles import Profiles, require_profiles
from .api import PACKAGES, Builder, Config, Log, Memory, Parser, TensorRT, tensorrt

STATED = frozenset({ir.DataType.FLOAT16, ir.DataType.BFLOAT16, ir.DataType.FLOAT8E4M3FN, ir.DataType.INT4})
"""Types that a graph has on purpose: with one of them, TensorRT 10 too takes all types from the graph."""


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
            job = _Job.start(trt, PACKAGES[target].module, graph)
            timings = path.with_name(f"{_key(*versions)}.timings") if PACKAGES[target].timings else None
            _build(job, source, job.configure(profiles or {}, capability), path, timings)
    return path


@dataclass(frozen=True)
class _Job:
    """A build: TensorRT's objects, and the log of its errors."""

    trt: TensorRT
    graph: ir.Model
    builder: Builder
    log: Log
    name: str

    @classmethod
    def start(cls, trt: TensorRT, module: str, graph: ir.Model) -> "_Job":
        log = Log(trt)
        try:
            return cls(trt, graph, trt.Builder(log.handler), log, f"{module} {trt.__version__}")
        except (TypeError, RuntimeError) as error:
            raise TargetError(f"{module} finds no GPU that it can build on: {log.last}") from error

    def parse(self, source: str | bytes) -> tuple[object, Parser]:
        """Parse the model and return its network, and the parser that owns its weights."""
        strong = 1 << int(self.trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED)
        network = self.builder.create_network(0 if self.weak_flags() else strong)
        parser = self.trt.OnnxParser(network, self.log.handler)
        if not (parser.parse(source) if isinstance(source, bytes) else parser.parse_from_file(source)):
            raise TargetError(f"{self.name} refuses {self.first_error(parser)}")
        return network, parser

    def first_error(self, parser: Parser) -> str:
        """Describe the parser's first error, beginning with the node."""
        if not parser.num_errors:
            return f"the model: {self.log.last}"
        error, nodes = parser.get_error(0), list(self.graph.graph)
        node = nodes[error.node()] if 0 <= error.node() < len(nodes) else None
        name = error.node_name() or (node.outputs[0].name if node else "")
        return f"{name!r} ({error.node_operator()}): {error.desc()}" if name else f"the model: {error.desc()}"

    def weak_flags(self) -> tuple[str, ...]:
        """Return the types that a weakly typed network may use; none where types come from the graph."""
        types = dtypes(self.graph)
        weak = hasattr(self.trt.BuilderFlag, "INT8") and ir.DataType.INT8 in types and not types & STATED
        return ("INT8", "FP16") if weak else ()

    def configure(self, profiles: Profiles, capability: str) -> Config:
        """Configure the build: flags, shapes and the device."""
        config = self.builder.create_builder_config()
        for flag in self.weak_flags():
            config.set_flag(getattr(self.trt.BuilderFlag, flag))
        if profiles:
            profile = self.builder.create_optimization_profile()
            for name, (low, usual, high) in profiles.items():
                profile.set_shape(name, tuple(low), tuple(usual), tuple(high))
            config.add_optimization_profile(profile)
        if capability:
            capabilities = getattr(self.trt, "ComputeCapability", None)
            device = getattr(capabilities, f"SM{capability.replace('.', '')}", None)
            if device is None:
                raise TargetError(f"{self.name} cannot build for compute capability {capability}")
            config.num_compute_capabilities = 1
            config.set_compute_capability(device, 0)
        return config

    def build(self, network: object, config: Config) -> Memory:
        """Build the engine."""
        engine = self.builder.build_serialized_network(network, config)
        if engine is None:
            raise TargetError(f"{self.name} cannot build the model: {self.log.last}")
        return engine


def _build(job: _Job, source: str | bytes, config: Config, path: Path, timings: Path | None) -> None:
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
