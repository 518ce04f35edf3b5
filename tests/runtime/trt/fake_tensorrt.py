"""A TensorRT that records the calls made to it: version 10, whose flags allow types, 11 and RTX, which have none."""

import sys
from dataclasses import dataclass, field
from functools import partial
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

TYPED = {"10.16.1.11": {"FP16": "FP16", "INT8": "INT8", "FP8": "FP8"}, "11.4.0.106": {}, "1.7.1.116": {}}
"""Flags by version, beside those that both have."""


@dataclass
class Calls:
    """The calls made to TensorRT, and the answers that it gives."""

    network_flags: list[int] = field(default_factory=list)
    flags: list[object] = field(default_factory=list)
    shapes: list[Any] = field(default_factory=list)
    parsed: list[str | bytes] = field(default_factory=list)
    timings: list[bytes] = field(default_factory=list)
    errors: list[SimpleNamespace] = field(default_factory=list)
    builds: int = 0
    refuses: str = ""
    has_gpu: bool = True
    listing: str = ""
    verbosity: object = None
    capabilities: list[object] = field(default_factory=list)
    inputs: list[SimpleNamespace] = field(default_factory=list)


def parser_error(node: int, name: str, operator: str, text: str) -> SimpleNamespace:
    """Return an error of the parser."""
    return SimpleNamespace(node=lambda: node, node_name=lambda: name, node_operator=lambda: operator, desc=lambda: text)


def fake_tensorrt(version: str) -> tuple[ModuleType, Calls]:
    """Return the module and its record of calls."""
    module, calls = ModuleType("tensorrt"), Calls()
    vars(module).update(
        __version__=version,
        ILogger=ILogger,
        Builder=partial(Builder, calls),
        OnnxParser=partial(OnnxParser, calls),
        BuilderFlag=SimpleNamespace(TF32="TF32", **TYPED[version]),
        NetworkDefinitionCreationFlag=SimpleNamespace(STRONGLY_TYPED=1),
        ProfilingVerbosity=SimpleNamespace(DETAILED="detailed"),
        **({"ComputeCapability": SimpleNamespace(SM89="sm89", SM120="sm120")} if version.startswith("1.") else {}),
    )
    return module, calls


def fake_tensorrt_rtx(monkeypatch: pytest.MonkeyPatch) -> Calls:
    """Put the fake of TensorRT-RTX in place of the wheel, on a machine without a GPU."""
    module, calls = fake_tensorrt("1.7.1.116")
    monkeypatch.setitem(sys.modules, "tensorrt_rtx", module)
    monkeypatch.setattr(sys.modules["requant.runtime.trt.engine_tally"], "gpu_name", lambda: "")
    return calls


class ILogger:
    ERROR, INTERNAL_ERROR, WARNING, VERBOSE = "error", "internal error", "warning", "verbose"

    def log(self, severity: str, text: str) -> None:
        raise NotImplementedError


@dataclass
class Profile:
    calls: Calls

    def set_shape(self, name: str, low: object, usual: object, high: object) -> None:
        self.calls.shapes.append((name, low, usual, high))


class Cache:
    def serialize(self) -> bytes:
        return b"timings"


@dataclass
class Network:
    calls: Calls

    @property
    def num_inputs(self) -> int:
        return len(self.calls.inputs)

    def get_input(self, index: int) -> SimpleNamespace:
        return self.calls.inputs[index]


@dataclass
class Config:
    calls: Calls
    profiling_verbosity: object = None

    def set_compute_capability(self, capability: object, index: int) -> bool:
        self.calls.capabilities.append(capability)
        return True

    def set_flag(self, flag: object) -> None:
        self.calls.flags.append(flag)

    def add_optimization_profile(self, profile: Profile) -> int:
        assert isinstance(profile, Profile)
        return 0

    def create_timing_cache(self, data: bytes) -> Cache:
        self.calls.timings.append(data)
        return Cache()

    def set_timing_cache(self, cache: Cache, ignore_mismatch: bool) -> bool:
        return not ignore_mismatch

    def get_timing_cache(self) -> Cache:
        return Cache()


class Builder:
    def __init__(self, calls: Calls, logger: ILogger) -> None:
        self.calls, self.logger = calls, logger
        if not calls.has_gpu:
            logger.log(ILogger.ERROR, "CUDA initialization\nfailure 100")
            raise TypeError("factory function returned nullptr")

    def create_network(self, flags: int) -> Network:
        self.calls.network_flags.append(flags)
        return Network(self.calls)

    def create_builder_config(self) -> Config:
        return Config(self.calls)

    def create_optimization_profile(self) -> Profile:
        return Profile(self.calls)

    def build_serialized_network(self, network: Network, config: Config) -> bytes | None:
        self.calls.builds += 1
        self.calls.verbosity = config.profiling_verbosity
        self.logger.log(ILogger.WARNING, "a warning is not kept")
        if self.calls.refuses:
            self.logger.log(ILogger.INTERNAL_ERROR, self.calls.refuses)
            return None
        self.logger.log(ILogger.VERBOSE, self.calls.listing)
        return b"engine"


class OnnxParser:
    def __init__(self, calls: Calls, network: Network, logger: ILogger) -> None:
        self.calls, self.num_errors = calls, len(calls.errors)

    def parse(self, model: bytes) -> bool:
        self.calls.parsed.append(model)
        return not self.calls.errors

    parse_from_file = parse

    def get_error(self, index: int) -> SimpleNamespace:
        return self.calls.errors[index]
