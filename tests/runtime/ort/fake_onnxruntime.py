"""An onnxruntime whose providers are what a test says: it records how sessions are set up, and runs nothing."""

import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from types import ModuleType, SimpleNamespace
from typing import Any

import onnx
import onnx_ir as ir
import pytest

Nodes = dict[str, list[tuple[str, str]]]


@dataclass
class Record:
    """A record of the arguments that a session was opened with."""

    source: str | bytes = b""
    level: str = ""
    entries: dict[str, str] = field(default_factory=dict)
    providers: Sequence[Any] | None = None
    devices: dict[str, str] | None = None
    keywords: dict[str, Any] = field(default_factory=dict)


def fake_onnxruntime(
    available: Sequence[str], loaded: Sequence[str], nodes: Nodes, *, old: bool = False, devices: Sequence[str] = ()
) -> tuple[ModuleType, Record]:
    """Return the module and its record.

    ``available`` are the providers of the wheel, ``loaded`` those that a session gets, ``nodes`` the
    (operator, name) pairs that each takes; ``devices`` those that a registered plugin finds. An ``old`` one cannot
    tell where nodes run.
    """
    module, record = ModuleType("onnxruntime"), Record()
    plugged: list[str] = []

    class SessionOptions:
        def add_session_config_entry(self, key: str, value: str) -> None:
            record.entries[key] = value

        def add_provider_for_devices(self, devices: Sequence[object], options: dict[str, str]) -> None:
            record.devices = options

    class InferenceSession:
        def __init__(self, source: str | bytes, options: Any, providers: Any, **keywords: Any) -> None:
            record.source, record.level = source, options.graph_optimization_level
            record.providers, record.keywords = providers, keywords

        def get_providers(self) -> list[str]:
            return list(loaded)

        if not old:

            def get_provider_graph_assignment_info(self) -> list[SimpleNamespace]:
                return [part(name, kinds) for name, kinds in nodes.items()]

    def part(name: str, kinds: list[tuple[str, str]]) -> SimpleNamespace:
        members = [SimpleNamespace(op_type=op_type, name=node) for op_type, node in kinds]
        return SimpleNamespace(ep_name=name, get_nodes=lambda: members)

    def register(name: str, path: str) -> None:
        plugged.extend(devices)

    levels = SimpleNamespace(ORT_ENABLE_ALL="all", ORT_DISABLE_ALL="none")
    vars(module).update(
        SessionOptions=SessionOptions,
        InferenceSession=InferenceSession,
        GraphOptimizationLevel=levels,
        get_available_providers=lambda: list(available),
        preload_dlls=lambda: None,
        disable_telemetry_events=lambda: None,
        get_ep_devices=lambda: [SimpleNamespace(ep_name=name) for name in plugged],
        register_execution_provider_library=register,
    )
    return module, record


def install(monkeypatch: pytest.MonkeyPatch, *arguments: Any, **keywords: Any) -> Record:
    """Put `fake_onnxruntime` in place of the real one."""
    module, record = fake_onnxruntime(*arguments, **keywords)
    monkeypatch.setitem(sys.modules, "onnxruntime", module)
    return record


def plain() -> ir.Model:
    """Build a float32 model."""
    text = '<ir_version: 8, opset_import: ["": 17]> g (float[b, 2] x) => (float[b, 2] y) { y = Relu(x) }'
    return ir.from_proto(onnx.parser.parse_model(text))
