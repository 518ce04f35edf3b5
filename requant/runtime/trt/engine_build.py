"""A build of an engine: TensorRT's objects, from a parsed network to a serialized engine."""

from dataclasses import dataclass

import onnx_ir as ir

from ...errors import BuildError, TargetError
from ..dtypes import dtypes
from ..profiles import Profiles
from .api import Builder, Config, Log, Memory, Network, Parser, TensorRT

STATED = frozenset({ir.DataType.FLOAT16, ir.DataType.BFLOAT16, ir.DataType.FLOAT8E4M3FN, ir.DataType.INT4})
"""Types that a graph has on purpose: with one of them, TensorRT 10 too takes all types from the graph."""


@dataclass(frozen=True)
class EngineBuild:
    """A build: TensorRT's objects, and the log of its errors."""

    trt: TensorRT
    graph: ir.Model
    builder: Builder
    log: Log
    name: str

    @classmethod
    def start(cls, trt: TensorRT, module: str, graph: ir.Model) -> "EngineBuild":
        log = Log(trt)
        try:
            return cls(trt, graph, trt.Builder(log.handler), log, f"{module} {trt.__version__}")
        except (TypeError, RuntimeError) as error:
            raise TargetError(f"{module} finds no GPU that it can build on: {log.last}") from error

    def parse(self, source: str | bytes) -> tuple[Network, Parser]:
        """Parse the model and return its network, and the parser that owns its weights."""
        strong = 1 << int(self.trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED)
        network = self.builder.create_network(0 if self.weak_flags() else strong)
        parser = self.trt.OnnxParser(network, self.log.handler)
        if not (parser.parse(source) if isinstance(source, bytes) else parser.parse_from_file(source)):
            raise BuildError(f"{self.name} refuses {self.first_error(parser)}")
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

    def build(self, network: Network, config: Config) -> Memory:
        """Build the engine."""
        engine = self.builder.build_serialized_network(network, config)
        if engine is None:
            raise BuildError(f"{self.name} cannot build the model: {self.log.last}")
        return engine
