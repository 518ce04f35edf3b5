"""The graph that ONNX Runtime runs of a model, and what its profiler says of each node: tensors and times.

A node's event has the types and shapes of what it reads and writes, but not of the weights that it has packed: these
are in the optimized graph. Events are named after nodes, and nodes of several bodies may share a name.
"""

import json
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import repeat
from pathlib import Path
from statistics import median
from typing import Any

import onnx_ir as ir

from ...errors import SourceError
from ..engine_layer import WIDTHS, EngineTensor
from ..feeds import Feed
from .session import error_text, is_engine_error, session

RUNS, WARMUP = 10, 2
"""Runs that count, and those before them."""

FEWEST, SECONDS = 3, 5.0
"""Runs that count at least, and the time after which there are no more: a loop leaves an event for each step."""

_SUFFIX = "_kernel_time"
_NAMES = {"float": "float32", "double": "float64", "int4x2": "int4", "uint4x2": "uint4"}
"""Types whose names differ from those of `requant.runtime.engine_layer`, by ONNX's and the profiler's."""

Event = Mapping[str, Any]  # JSON: values of any plain type


@dataclass(frozen=True)
class ProfiledNode:
    """A node of the graph that was run: its median time in a run, and how often it ran in one.

    ``calls`` is 0 in a branch that was not taken, and more than 1 in a loop. ``reads`` are the tensors that it read in
    the last call, without names and without the weights that ONNX Runtime has packed; ``outputs`` those that it wrote.
    """

    node: ir.Node
    microseconds: float = 0.0
    calls: int = 0
    reads: Sequence[EngineTensor] = ()
    outputs: Sequence[EngineTensor] = ()


def profiled(model: ir.Model, target: str, feed: Feed, *, threads: int) -> list[ProfiledNode]:
    """Run ``model`` in a default session, and return the nodes of the graph that ONNX Runtime made of it, in order.

    Raises:
        SourceError: ONNX Runtime does not load or run it.
    """
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        ort_session = session(model, target, threads=threads, trace=folder)
        try:
            start = time.perf_counter()
            for turn in range(WARMUP + RUNS):
                if turn < WARMUP + FEWEST or time.perf_counter() - start < SECONDS:
                    ort_session.run(None, dict(feed))
        except Exception as error:
            if is_engine_error(error):
                raise SourceError(f"ONNX Runtime cannot run the model: {error_text(error)}") from error
            raise
        events = json.loads(Path(ort_session.end_profiling()).read_text(encoding="utf-8"))
        graph = ir.load(folder / "optimized.onnx").graph
    return list(_matched(graph, events))


def engine_tensor(name: str | None, shape: Sequence[int], dtype: ir.DataType | str) -> EngineTensor | None:
    """Describe a tensor by ONNX's or the profiler's name of its type; None where that has no size, as strings have."""
    text = (dtype if isinstance(dtype, str) else dtype.name).lower()
    known = "fp8" if text.startswith("float8") else _NAMES.get(text, text)
    return EngineTensor(name or "", tuple(shape), known) if known in WIDTHS else None


def _matched(graph: ir.Graph, events: Sequence[Event]) -> Iterator[ProfiledNode]:
    """Yield the nodes with their events."""
    groups = _by_node(events)
    for node in graph.all_nodes():
        if node.op_type == "Constant":
            continue
        named = groups.get(node.name or node.op_type, [])
        yield _timed(node, named.pop(0)) if named else ProfiledNode(node)


def _by_node(events: Sequence[Event]) -> dict[str, list[list[list[Event]]]]:
    """Group the events of nodes by name, or else by type, then by node, then by run; the first runs are left out."""
    runs = sorted((one for one in events if one["name"] == "model_run"), key=lambda one: one["ts"])[WARMUP:]
    kernels = sorted((one for one in events if one["name"].endswith(_SUFFIX)), key=lambda one: one["ts"])
    nodes = defaultdict[tuple[str, str], list[list[Event]]](lambda: [[] for _ in runs])
    position = 0
    for event in kernels:
        while position < len(runs) and event["ts"] > runs[position]["ts"] + runs[position]["dur"]:
            position += 1
        if position < len(runs) and event["ts"] >= runs[position]["ts"]:
            nodes[event["name"].removesuffix(_SUFFIX), event["args"].get("node_index", "")][position].append(event)
    groups = defaultdict[str, list[list[list[Event]]]](list)
    for (name, index), by_run in nodes.items():
        op_type = next(event for run in by_run for event in run)["args"]["op_name"]
        groups[op_type if name == f"{op_type}_{index}" else name].append(by_run)
    return groups


def _timed(node: ir.Node, by_run: list[list[Event]]) -> ProfiledNode:
    times = [float(sum(event["dur"] for event in events)) for events in by_run]
    last = by_run[-1]
    arguments = last[-1]["args"] if last else {}
    written = [value.name for value in node.outputs if value.name]
    reads = _tensors(repeat(""), arguments.get("input_type_shape", ()))
    outputs = _tensors(written, arguments.get("output_type_shape", ()))
    return ProfiledNode(node, median(times), len(last), reads, outputs)


def _tensors(names: Iterable[str], entries: Sequence[Mapping[str, Sequence[int]]]) -> list[EngineTensor]:
    """Describe the tensors of an event, which has none for values that are no tensors."""
    described = (
        engine_tensor(name, shape, dtype)
        for name, entry in zip(names, entries, strict=False)
        for dtype, shape in entry.items()
    )
    return [tensor for tensor in described if tensor is not None]
