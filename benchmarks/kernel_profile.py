"""What nodes of networks take, from ONNX Runtime's profiler, beside what they would by the prices of their kernels."""

import json
import tempfile
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from math import prod
from pathlib import Path

import numpy as np
import onnx
from onnxruntime import InferenceSession, SessionOptions
from scipy.optimize import nnls

from models.networks import NETWORKS
from models.subject import Feed

from .cnn import CNNS, STATIC, with_axes
from .kernel_amounts import CALL, ELEMENT, MAC, PIXEL, TAP, Amounts
from .kernel_prices import Prices, seconds_by
from .networks import quantized_statically

RUNS, WARMUP, CALIBRATION = 25, 3, 4
ELEMENTWISE = {op: op for op in ("QuickGelu", "Sigmoid", "Add", "Mul", "QLinearSigmoid", "QLinearMul", "QLinearAdd")}
ELEMENTWISE |= {"QuantizeLinear": "Q", "DequantizeLinear": "DQ"}
GATED = "Mul", "QLinearMul"

Dims = list[int]


@dataclass(frozen=True)
class Node:
    """A node of an optimized graph as it ran: its weights' and other shapes, and its mean time."""

    proto: onnx.NodeProto
    weight: Dims
    inputs: list[Dims]
    output: Dims
    seconds: float


def in_networks(prices: Prices) -> list[tuple[str, ...]]:
    """Return a row for each kernel: its nodes, and the slope and the intercept of their times over their prices."""
    pairs = defaultdict[str, list[tuple[float, float]]](list)
    for name in CNNS:
        source, network = onnx.load(NETWORKS[name].model()), NETWORKS[name]
        written = quantized_statically(
            with_axes(source), network.calibration()[:CALIBRATION], **STATIC["quantize_static, per channel"]
        )
        for model in (source.SerializeToString(), written):
            for node in profiled(model, network.evaluation()[0]):
                if counted := kernel_of(node):
                    pairs[counted[0]].append((seconds_by(prices, *counted), node.seconds))
    rows = list[tuple[str, ...]]()
    for kernel, values in sorted(pairs.items()):
        priced, seconds = np.array(values).T
        (slope, call), _ = nnls(np.stack([priced / seconds, 1e-6 / seconds], axis=1), np.ones(len(values)))
        rows.append((kernel, f"{len(values)}", f"{slope:.2f}", f"{call:.1f}"))
    return rows


def profiled(model: bytes, feed: Feed) -> Iterator[Node]:
    """Run a model in one thread; yield its nodes. A time is the mean of the faster half, which nothing interrupted."""
    with tempfile.TemporaryDirectory() as folder:
        options = SessionOptions()
        options.intra_op_num_threads, options.log_severity_level, options.enable_profiling = 1, 4, True
        options.profile_file_prefix = str(Path(folder) / "profile")
        options.optimized_model_filepath = str(Path(folder) / "optimized.onnx")
        session = InferenceSession(model, options, providers=["CPUExecutionProvider"])
        for _ in range(RUNS):
            session.run(None, feed)
        events = json.loads(Path(session.end_profiling()).read_text())
        graph = onnx.load(options.optimized_model_filepath).graph
    weights = {tensor.name: list(tensor.dims) for tensor in graph.initializer}
    ran = sorted((one for one in events if one["name"].endswith("_kernel_time")), key=lambda one: one["ts"])
    nodes = [node for node in graph.node if node.op_type != "Constant"]
    for index, node in enumerate(nodes):
        runs = ran[index :: len(nodes)]
        if any(one["args"]["op_name"] != node.op_type for one in runs):
            raise ValueError(f"{node.name} is not where it is in the optimized graph")
        times = np.sort([one["dur"] for one in runs[WARMUP:]])[: (RUNS - WARMUP) // 2]
        inputs, outputs = (
            [next(iter(value.values())) for value in runs[0]["args"][side]]
            for side in ("input_type_shape", "output_type_shape")
        )
        weight = next((weights[name] for name in node.input if len(weights.get(name, [])) == 4), [])
        yield Node(node, weight, inputs, outputs[0], float(times.mean()) * 1e-6)


def kernel_of(node: Node) -> tuple[str, Amounts] | None:
    """Return the price that a node has, and the amounts of it."""
    op, elements = node.proto.op_type, prod(node.output)
    if op in ("Conv", "QLinearConv") and len(node.weight) == len(node.output) == 4:
        return _conv(node)
    if op not in ELEMENTWISE:
        return None
    operands = [size for size in map(prod, node.inputs) if size > 1]  # a quantizer's scale and zero point are scalars
    amounts = {ELEMENT: elements, CALL: 1}
    if op == "QLinearAdd" and len(operands) == 1:
        return "QLinearAdd of a scalar", amounts
    if op in GATED and len(set(operands)) > 1:
        channels = node.output[-1] if op.startswith("QLinear") else node.output[1]
        return f"{ELEMENTWISE[op]} by gate", amounts | {PIXEL: elements // channels}
    return ELEMENTWISE[op], amounts


def _conv(node: Node) -> tuple[str, Amounts]:
    attributes: Mapping[str, int] = {one.name: one.i for one in node.proto.attribute}
    channels = node.output[-1 if attributes.get("channels_last") else 1]
    integer, taps, elements = node.proto.op_type == "QLinearConv", prod(node.weight[2:]), prod(node.output)
    shape = "depthwise" if attributes.get("group", 1) > 1 else "Conv 1x1" if taps == 1 else "Conv 3x3"
    name = {"depthwise": "QLinearConv depthwise"}.get(shape, f"QLinear{shape}") if integer else shape
    amounts = {MAC: elements * taps * node.weight[1], ELEMENT: elements, CALL: 1}
    return name, amounts | ({TAP: elements // channels * taps} if taps > 1 else {})
