"""The predicted channel of every element is what ONNX Runtime moves there."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, TypeAlias

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import ArrayLike
from onnx import TensorProto, helper, numpy_helper
from onnx_ir.passes import common

from requant.ir.channels.blocked import BlockedError
from requant.ir.channels.layout import along_axis, is_movement, last_axis, move
from requant.ir.channels.reshape import NO_CHANNEL, ChannelMap
from requant.ir.constants import constant
from requant.ir.load import load
from requant.runtime.session import runner

Build: TypeAlias = Callable[[str], onnx.ModelProto]
INT64_MAX, INT64_MIN = 2**63 - 1, -(2**63)


class Dim(NamedTuple):
    """The size of an axis, and whether it is static in the model."""

    size: int
    static: bool


@dataclass
class Chain:
    """A chain of moves as it is drawn: ``value`` is its last value, of shape ``dims``."""

    draw: st.DrawFn
    dims: list[Dim]
    value: str = "x"
    nodes: list[onnx.NodeProto] = field(default_factory=list)
    constants: list[TensorProto] = field(default_factory=list)

    def add(self, op_type: str, dims: list[Dim], *constants: ArrayLike, **attributes: int | Sequence[int]) -> None:
        """Append an op on the last value and constant inputs."""
        names = [self.constant(value) for value in constants]
        self.append(op_type, [self.value, *names], [f"v{len(self.nodes)}"], dims, **attributes)

    def append(
        self, op_type: str, inputs: list[str], outputs: list[str], dims: list[Dim], **attributes: int | Sequence[int]
    ) -> None:
        """Append a node, whose first output becomes the last value."""
        node = helper.make_node(op_type, inputs, outputs)
        node.attribute.extend(helper.make_attribute(key, value) for key, value in attributes.items())
        self.nodes.append(node)
        self.value, self.dims = outputs[0], dims

    def constant(self, value: ArrayLike) -> str:
        """Add an int64 constant; returns its name."""
        self.constants.append(numpy_helper.from_array(np.asarray(value, np.int64), f"c{len(self.constants)}"))
        return self.constants[-1].name

    def axis(self, *, least: int = 1, most: int = 100) -> int:
        """Some axis of static size, at least ``least`` and at most ``most``, or -1 if there is none."""
        fitting = [axis for axis, dim in enumerate(self.dims) if dim.static and least <= dim.size <= most]
        return self.draw(st.sampled_from(fitting)) if fitting else -1

    def model(self, dims: list[Dim]) -> onnx.ModelProto:
        """From ``x`` of shape ``dims`` to the last value."""
        shape = [dim.size if dim.static else f"d{axis}" for axis, dim in enumerate(dims)]
        x = helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)
        y = helper.make_tensor_value_info(self.value, TensorProto.FLOAT, None)
        graph = helper.make_graph(self.nodes, "chain", [x], [y], self.constants)
        return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def _transpose(chain: Chain) -> None:
    perm = chain.draw(st.permutations(range(len(chain.dims))))
    chain.add("Transpose", [chain.dims[axis] for axis in perm], perm=perm)


def _split_axis(chain: Chain) -> None:
    axis = chain.axis(least=2)
    if axis >= 0:
        size = chain.dims[axis].size
        factor = chain.draw(st.sampled_from([n for n in range(1, size + 1) if size % n == 0]))
        parts = [Dim(factor, True), Dim(size // factor, True)]
        _reshape(chain, chain.dims[:axis] + parts + chain.dims[axis + 1 :])


def _merge_axes(chain: Chain) -> None:
    axis = chain.draw(st.integers(0, max(0, len(chain.dims) - 2)))
    if len(chain.dims) > 1:
        first, second = chain.dims[axis : axis + 2]
        merged = Dim(first.size * second.size, first.static and second.static)
        _reshape(chain, [*chain.dims[:axis], merged, *chain.dims[axis + 2 :]])


def _reshape(chain: Chain, dims: list[Dim]) -> None:
    same = [a == b for a, b in zip(chain.dims, dims, strict=False)]
    head = same.index(False) if False in same else len(same)
    target = [dim.size if dim.static else (0 if axis < head else -1) for axis, dim in enumerate(dims)]
    if target.count(-1) <= 1:
        chain.add("Reshape", dims, target)


def _slice(chain: Chain) -> None:
    axis, step = chain.axis(), chain.draw(st.sampled_from([1, 2, -1, -2]))
    if axis < 0:
        return
    size = chain.dims[axis].size
    bounds = st.one_of(st.integers(-size - 2, size + 2), st.sampled_from([INT64_MAX, INT64_MIN]))
    start, end = chain.draw(bounds), chain.draw(bounds)
    first, last = (bound + size if bound < 0 else bound for bound in (start, end))
    low, high = (0, size) if step > 0 else (-1, size - 1)
    remaining = len(range(min(max(first, 0), high), min(max(last, low), high), step))
    if remaining:
        dims = [*chain.dims[:axis], Dim(remaining, True), *chain.dims[axis + 1 :]]
        chain.add("Slice", dims, [start], [end], [axis - chain.draw(st.sampled_from([0, len(dims)]))], [step])


def _split(chain: Chain) -> None:
    axis = chain.axis(least=2)
    if axis < 0:
        return
    cut = chain.draw(st.integers(1, chain.dims[axis].size - 1))
    sizes, dims = [cut, chain.dims[axis].size - cut], list(chain.dims)
    keep = chain.draw(st.sampled_from([0, 1]))
    names = [f"v{len(chain.nodes)}.{part}" for part in (0, 1)]
    equal = sizes[0] == sizes[1] and chain.draw(st.booleans())
    inputs = [chain.value] if equal else [chain.value, chain.constant(sizes)]
    dims[axis] = Dim(sizes[keep], True)
    chain.append("Split", inputs, names, dims, axis=axis)
    chain.value = names[keep]


def _gather(chain: Chain) -> None:
    axis = chain.axis()
    if axis >= 0:
        size = chain.dims[axis].size
        index = st.integers(-size, size - 1)
        indices = chain.draw(st.one_of(index, st.lists(index, min_size=1, max_size=2 * size)))
        picked = [Dim(len(indices), True)] if isinstance(indices, list) else []
        if picked or len(chain.dims) > 1:
            chain.add("Gather", chain.dims[:axis] + picked + chain.dims[axis + 1 :], indices, axis=axis)


def _concat(chain: Chain) -> None:
    axis = chain.draw(st.integers(0, len(chain.dims) - 1))
    dims = list(chain.dims)
    dims[axis] = Dim(2 * dims[axis].size, dims[axis].static)
    if dims[axis].size <= 32:
        chain.append("Concat", [chain.value] * 2, [f"v{len(chain.nodes)}"], dims, axis=axis)


def _unsqueeze(chain: Chain) -> None:
    axis = chain.draw(st.integers(0, len(chain.dims)))
    dims = [*chain.dims[:axis], Dim(1, True), *chain.dims[axis:]]
    chain.add("Unsqueeze", dims, [axis - chain.draw(st.sampled_from([0, len(dims)]))])


def _squeeze(chain: Chain) -> None:
    axis = chain.axis(most=1)
    if axis >= 0 and len(chain.dims) > 1:
        chain.add("Squeeze", chain.dims[:axis] + chain.dims[axis + 1 :], [axis])


STEPS = (_transpose, _split_axis, _merge_axes, _slice, _split, _gather, _concat, _unsqueeze, _squeeze)


@st.composite
def chains(draw: st.DrawFn) -> tuple[onnx.ModelProto, tuple[int, ...]]:
    """Draw a model that moves the elements of ``x``, and a shape for ``x``, whose last axis is the channels."""
    sizes = [*draw(st.lists(st.integers(1, 4), min_size=1, max_size=2)), draw(st.sampled_from([2, 4, 6, 12]))]
    static = [draw(st.booleans()) for _ in sizes[:-1]]
    dims = [Dim(size, sure) for size, sure in zip(sizes, [*static, True], strict=True)]
    chain = Chain(draw, dims)
    for step in draw(st.lists(st.sampled_from(STEPS), min_size=1, max_size=7)):
        step(chain)
    if not chain.nodes:
        chain.add("Identity", dims)
    return chain.model(dims), tuple(sizes)


def _infer(proto: onnx.ModelProto) -> ir.Model:
    model = load(proto)
    common.ShapeInferencePass(strict_mode=False)(model)
    return model


def _follow(model: ir.Model, channels: int) -> dict[str, ChannelMap]:
    """Return the map of every value that can be followed from ``x``; only a Reshape may block it."""
    x = model.graph.inputs[0]
    assert x.shape is not None
    maps: dict[ir.Value, ChannelMap] = {x: last_axis(channels, len(x.shape))}
    for node in model.graph:
        inputs = [maps.get(value) if value else None for value in node.inputs]
        if node.op_type == "Reshape" and _may_mix(node):
            try:
                maps.update(zip(node.outputs, move(node, inputs), strict=True))
            except BlockedError:
                break
        else:
            maps.update(zip(node.outputs, move(node, inputs), strict=True))
    return {value.name: channels for value, channels in maps.items() if value.name}


def _may_mix(node: ir.Node) -> bool:
    """Tell whether ``node`` merges axes, or loses the name of a dimension."""
    (source, *_), (target,) = node.inputs, node.outputs
    assert source is not None
    assert source.shape is not None
    assert target.shape is not None
    return len(target.shape) < len(source.shape) or not target.shape.is_static()


@given(chains())
def test_random_chains_of_movements_are_follow(chain: tuple[onnx.ModelProto, tuple[int, ...]]) -> None:
    proto, shape = chain
    model = _infer(proto)
    maps = _follow(model, shape[-1])
    names = list(maps)
    x = np.broadcast_to(np.arange(shape[-1], dtype=np.float32), shape)
    outputs = runner(model, names, threads=1)({"x": x})[-len(names) :]
    for name, output in zip(names, outputs, strict=True):
        np.testing.assert_array_equal(np.broadcast_to(maps[name], output.shape), output)


HEAD = "(float[B,T,4] x, int64[N] i) => (float[K,L,M] y) <int64[1] first = {0}, int64[1] last = {2}, "
FOLLOWED = {
    "gather of tokens at run time": (HEAD + "int64[1] k> { y = Gather<axis = 1>(x, i) }", (1, 1, 4)),
    "slice of tokens at run time": (HEAD + "int64[1] k = {1}> { y = Slice(x, i, i, k) }", (1, 1, 4)),
    "one token at run time": (
        "(float[B,T,4] x, int64 i) => (float[K,M] y) { y = Gather<axis = 1>(x, i) }",
        (1, 4),
    ),
    "split of tokens at run time": (
        "(float[B,T,4] x, int64[2] i) => (float[K,L,M] y) { y, z = Split<axis = 1>(x, i) }",
        (1, 1, 4),
    ),
    "backwards from before the first": (
        "(float[B,T,4] x) => (float[B,T,K] y) <int64[1] s = {-9}, int64[1] a = {2}, int64[1] k = {-1}> "
        "{ y = Slice(x, s, s, a, k) }",
        (1, 1, 1),
    ),
    "cast to half": ("(float[B,T,4] x) => (float16[B,T,4] y) { y = Cast<to = 10>(x) }", (1, 1, 4)),
    "dropout": ("(float[B,T,4] x) => (float[B,T,4] y, bool[B,T,4] m) { y, m = Dropout(x) }", (1, 1, 4)),
    "flattened": ("(float[B,T,4] x) => (float[N,4] y) { y = Flatten<axis = 2>(x) }", (1, 4)),
    "heads": (
        "(float[B,T,4] x) => (float[B,2,T,2] y) <int64[4] s = {0, 0, 2, 2}> "
        "{ a = Reshape(x, s)  y = Transpose<perm = [0, 2, 1, 3]>(a) }",
        (1, 2, 1, 2),
    ),
    "channels first, split": (
        "(float[B,T,4] x) => (float[B,2,2,T] y) <int64[4] s = {0, 2, 2, -1}> "
        "{ a = Transpose<perm = [0, 2, 1]>(x)  y = Reshape(a, s) }",
        (1, 2, 2, 1),
    ),
    "half doubled": (
        "(float[B,T,4] x) => (float[B,T,4] y) { a, b = Split<axis = -1>(x)  y = Concat<axis = -1>(b, a) }",
        (1, 1, 4),
    ),
}

REFUSED = {
    "mixing reshape": (
        "(float[B,T,4] x) => (float[B,K] y) <int64[2] s = {0, -1}> { y = Reshape(x, s) }",
        "mixes channels",
    ),
    "reshape of unknown rank": (
        "(float[B,T,4] x, int64[N] i) => (float[K,L] y) { a = Reshape(x, i)  y = Relu(a) }",
        "input or output of unknown shape",
    ),
    "gather at run time": (
        "(float[B,T,4] x, int64[N] i) => (float[B,T,N] y) { y = Gather<axis = -1>(x, i) }",
        "that are computed at run time",
    ),
    "gather of nothing": (
        "(float[B,T,4] x) => (float[B,T] y) <int64 i = {9}> { y = Gather<axis = -1>(x, i) }",
        "do not fit",
    ),
    "slice at run time": (
        "(float[B,T,4] x, int64[1] i) => (float[B,T,K] y) <int64[1] s = {0}, int64[1] a = {2}> "
        "{ y = Slice(x, s, i, a) }",
        "ends that are computed at run time",
    ),
    "slice with steps at run time": (
        "(float[B,T,4] x, int64[1] i) => (float[B,T,K] y) <int64[1] s = {0}, int64[1] e = {4}, int64[1] a = {2}> "
        "{ y = Slice(x, s, e, a, i) }",
        "steps that are computed at run time",
    ),
    "slice of axes at run time": (
        "(float[B,T,4] x, int64[1] i) => (float[B,T,K] y) <int64[1] s = {0}, int64[1] e = {4}> "
        "{ y = Slice(x, s, e, i) }",
        "axes that are computed at run time",
    ),
    "slice without axes": (
        "(float[B,T,4] x) => (float[B,T,K] y) <int64[3] s = {0, 0, 0}, int64[3] e = {4, 4, 2}> { y = Slice(x, s, e) }",
        "has no axes",
    ),
    "split at run time": (
        "(float[B,T,4] x, int64[2] i) => (float[B,T,K] y) { y, z = Split<axis = -1>(x, i) }",
        "sizes that are computed at run time",
    ),
    "concat with an untransformed value": (
        "(float[B,T,4] x, float[B,1,4] i) => (float[B,K,4] y) { y = Concat<axis = 1>(x, i) }",
        "does not share its transform",
    ),
    "concat of other channels": (
        "(float[B,T,4] x) => (float[B,K,2] y) { a, b = Split<axis = -1>(x)  y = Concat<axis = 1>(a, b) }",
        "different channels",
    ),
    "training": (
        "(float[B,T,4] x) => (float[B,T,4] y) <float r = {0.5}, bool t = {1}> { y = Dropout(x, r, t) }",
        "training mode",
    ),
    "integers": ("(float[B,T,4] x) => (int32[B,T,4] y) { y = Cast<to = 6>(x) }", "integers"),
    "data of another kind": (
        "(float[9,4] i, int64[4] x) => (float[4,4] y) { y = Gather<axis = 0>(i, x) }",
        "an input other than its data",
    ),
}


def test_a_part_that_cannot_be_transformed_does_not_block_the_rest(build: Build) -> None:
    text = "(float[B,T,4] x, float[B,T,3] i) => (float[B,T,7] y) { y = Concat<axis = -1>(x, i) }"
    assert list(_last_map(text, build).ravel()) == [0, 1, 2, 3, NO_CHANNEL, NO_CHANNEL, NO_CHANNEL]


def test_repeated_heads_repeat_their_channels(build: Build) -> None:
    text = """(float[B,T,4] x) => (float[B,T,8] y)
        <int64[5] s = {0, 0, 2, 1, 2}, int64[5] e = {1, 1, 2, 2, 2}, int64[3] m = {0, 0, 8}> {
        h = Reshape(x, s)  r = Expand(h, e)  y = Reshape(r, m) }"""
    assert list(_last_map(text, build).ravel()) == [0, 1, 0, 1, 2, 3, 2, 3]


def test_tiled_channels_repeat(build: Build) -> None:
    text = "(float[B,T,4] x) => (float[B,K,8] y) <int64[3] r = {1, 3, 2}> { y = Tile(x, r) }"
    assert list(_last_map(text, build).ravel()) == [0, 1, 2, 3, 0, 1, 2, 3]


def _last_map(text: str, build: Build) -> ChannelMap:
    model = _infer(build(text))
    value = next(value for value in model.graph.inputs if value.name == "x")
    assert value.shape is not None
    maps: dict[ir.Value, ChannelMap] = {value: last_axis(4, len(value.shape))}
    for node in model.graph:
        maps_out = move(node, [maps.get(value) if value else None for value in node.inputs])
        maps.update(zip(node.outputs, maps_out, strict=False))
    return maps[model.graph.outputs[0]]


@pytest.mark.parametrize("name", FOLLOWED)
def test_movements_along_other_axes_need_no_constants(name: str, build: Build) -> None:
    text, shape = FOLLOWED[name]
    assert _last_map(text, build).shape == shape


@pytest.mark.parametrize("name", REFUSED)
def test_a_blocked_movement_says_why(name: str, build: Build) -> None:
    text, reason = REFUSED[name]
    with pytest.raises(BlockedError, match=reason):
        _last_map(text, build)


@pytest.mark.parametrize("body", ["y = Pad(x, p)", "y = Abs(x)", "y = com.microsoft.Transpose(x)"])
def test_other_ops_are_no_movements(body: str, build: Build) -> None:
    (node,) = load(build(f"(float[B,4] x) => (float[N,M] y) <int64[4] p> {{ {body} }}")).graph
    assert not is_movement(node)


@pytest.mark.parametrize(
    ("shape", "axis", "exists"),
    [((1, 1, 4), -1, True), ((1, 4, 1), 1, True), ((1, 4, 1), -2, True), ((1, 4, 1), 2, False), ((2, 2), 1, False)],
)
def test_channels_lie_along_one_axis_or_none(shape: tuple[int, ...], axis: int, exists: bool) -> None:
    along = along_axis(np.arange(4).reshape(shape), axis)
    assert (along is not None) == exists
    if along is not None:
        np.testing.assert_array_equal(along, np.arange(4))


def test_a_constant_gets_a_name_of_its_own(build: Build) -> None:
    graph = load(build("(float[B,4] x) => (float[B,4] y) <float[4] k> { y = Add(x, k) }")).graph
    names = [constant(graph, np.zeros(2), "k").name for _ in range(2)]
    assert names == ["k.1", "k.2"]
