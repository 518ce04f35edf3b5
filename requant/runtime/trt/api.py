"""The part of TensorRT's Python API that builds an engine: the same in 10, 11 and TensorRT-RTX, but for the flags.

In 10 `BuilderFlag` has FP16 and INT8, and a network may be weakly typed; from 11 on every network is strongly typed.
"""

import importlib
from collections.abc import Sequence
from typing import NamedTuple, Protocol, SupportsInt, cast

from ...errors import TargetError


class Package(NamedTuple):
    """A Python module that builds engines, what to install for it, and whether it keeps the times of kernels."""

    module: str
    install: str
    timings: bool


PACKAGES = {
    "tensorrt": Package("tensorrt", "pip install 'requant[tensorrt]', or tensorrt for version 11", timings=True),
    "tensorrt-rtx": Package("tensorrt_rtx", "pip install tensorrt-rtx", timings=False),
}
"""By target."""

_LAYER = "LayerType: "
"""What a list of layers has in each line."""


class Memory(Protocol):
    """A buffer that TensorRT owns."""

    def __buffer__(self, flags: int, /) -> memoryview: ...


class TimingCache(Protocol):
    """A cache of measured times of kernels."""

    def serialize(self) -> Memory: ...


class Profile(Protocol):
    """A set of shapes that an engine is built for."""

    def set_shape(self, name: str, low: Sequence[int], usual: Sequence[int], high: Sequence[int], /) -> None: ...


class Config(Protocol):
    """A configuration of a build."""

    num_compute_capabilities: int
    profiling_verbosity: object

    def set_flag(self, flag: object, /) -> None: ...
    def add_optimization_profile(self, profile: Profile, /) -> int: ...
    def create_timing_cache(self, data: bytes, /) -> TimingCache: ...
    def set_timing_cache(self, cache: TimingCache, /, *, ignore_mismatch: bool) -> bool: ...
    def get_timing_cache(self) -> TimingCache: ...
    def set_compute_capability(self, capability: object, index: int, /) -> bool: ...


class NetworkInput(Protocol):
    """An input of a network; its shape can be set until the network is built."""

    name: str
    shape: Sequence[int]


class Network(Protocol):
    """A network of layers."""

    num_inputs: int

    def get_input(self, index: int, /) -> NetworkInput: ...


class Builder(Protocol):
    """A builder of engines."""

    def create_network(self, flags: int, /) -> Network: ...
    def create_builder_config(self) -> Config: ...
    def create_optimization_profile(self) -> Profile: ...
    def build_serialized_network(self, network: Network, config: Config, /) -> Memory | None: ...


class ParserError(Protocol):
    """An error of the parser."""

    def node(self) -> int: ...
    def node_name(self) -> str: ...
    def node_operator(self) -> str: ...
    def desc(self) -> str: ...


class Parser(Protocol):
    """A parser of ONNX."""

    num_errors: int

    def parse(self, model: bytes, /) -> bool: ...
    def parse_from_file(self, path: str, /) -> bool: ...
    def get_error(self, index: int, /) -> ParserError: ...


class Logger(Protocol):
    """The base class of loggers."""

    ERROR: object
    INTERNAL_ERROR: object

    def __init__(self) -> None: ...


class Verbosities(Protocol):
    """The levels of detail in which the log of a build describes an engine's layers."""

    DETAILED: object


class NetworkFlags(Protocol):
    """The flags of a network, as positions of bits."""

    STRONGLY_TYPED: SupportsInt


class TensorRT(Protocol):
    """The module."""

    __version__: str
    ILogger: type[Logger]
    BuilderFlag: object
    NetworkDefinitionCreationFlag: NetworkFlags
    ProfilingVerbosity: Verbosities

    def Builder(self, logger: object, /) -> Builder: ...  # noqa: N802
    def OnnxParser(self, network: Network, logger: object, /) -> Parser: ...  # noqa: N802


def tensorrt(target: str) -> TensorRT:
    """Import the module that builds for ``target``.

    Raises:
        TargetError: the target is not TensorRT, or it is not installed.
    """
    if target not in PACKAGES:
        raise TargetError(f"there are no engines for {target!r}: choose one of {', '.join(PACKAGES)}")
    package = PACKAGES[target]
    try:
        return cast(TensorRT, importlib.import_module(package.module))
    except ImportError as error:
        raise TargetError(f"{package.module} is not installed: {package.install}") from error


class Log:
    """A log of TensorRT's errors and of its lists of layers; pass its `handler` where TensorRT wants a logger."""

    def __init__(self, trt: TensorRT) -> None:
        self.errors: list[str] = []
        self.layers: list[str] = []
        base, errors, layers = trt.ILogger, self.errors, self.layers

        def log(handler: object, severity: object, text: str) -> None:
            if severity in (base.ERROR, base.INTERNAL_ERROR):
                errors.append(text)
            elif _LAYER in text:
                layers.append(text)

        self.handler = type("Handler", (base,), {"log": log})()

    @property
    def last(self) -> str:
        """The latest error on one line."""
        return " ".join(self.errors[-1].split()) if self.errors else "it gives no reason"
