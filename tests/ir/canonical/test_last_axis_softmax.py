"""A Softmax beside a Transpose moves to the last axis, and one without stays as it is."""

import logging
from collections.abc import Callable
from typing import TypeAlias

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from requant.ir.canonical.canonicalize import canonicalize
from requant.ir.load import load
from requant.runtime.session import runner

Arrays: TypeAlias = list[NDArray[np.generic]]
Build: TypeAlias = Callable[[str], onnx.ModelProto]
Compute: TypeAlias = Callable[[ir.Model], Arrays]
Deviation: TypeAlias = Callable[[Arrays, Arrays], float]

SWAP = "Transpose<perm = [0, 2, 1, 3]>"
HEAD = "(float[B,4,16,A] x) => (float[K,L,M,N] y) <float[1,16,1,1] w, float[4] g>"
MOVED = {
    "between a Transpose and a Conv": (
        f"t = {SWAP}(x)  s = Softmax<axis = 1>(t)  y = Conv(s, w)",
        "Transpose[0, 1, 3, 2] Softmax[-1] Transpose[0, 3, 1, 2] Conv",
    ),
    "before a Transpose": (
        f"t = Softmax<axis = 2>(x)  u = {SWAP}(t)  y = Neg(u)",
        "Transpose[0, 1, 3, 2] Softmax[-1] Transpose[0, 3, 1, 2] Neg",
    ),
    "before a Transpose of the axis to the end": (
        "s = Softmax<axis = -2>(x)  t = Transpose<perm = [0, 1, 3, 2]>(s)  y = Neg(t)",
        "Transpose[0, 1, 3, 2] Softmax[-1] Neg",
    ),
    "behind a Transpose of the last axis": (
        "t = Transpose(x)  y = Softmax<axis = 0>(t)", "Softmax[-1] Transpose[3, 2, 1, 0]"
    ),
    "between Transposes that cancel": (
        "t = Transpose<perm = [0, 3, 1, 2]>(x)  s = LogSoftmax<axis = 1>(t)  y = Transpose<perm = [0, 2, 3, 1]>(s)",
        "LogSoftmax[-1]",
    ),
}  # fmt: skip
KEPT = {
    "no Transpose": ("y = Softmax<axis = 1>(x)", "Softmax[1]"),
    "the last axis": (f"t = {SWAP}(x)  y = Softmax(t)", "Transpose[0, 2, 1, 3] Softmax"),
    "a Transpose that is read": (
        f"t = {SWAP}(x)  s = Softmax<axis = 1>(t)  y = Mul(s, t)", "Transpose[0, 2, 1, 3] Softmax[1] Mul"
    ),
    "a Softmax that is read": (
        f"s = Softmax<axis = 1>(x)  t = {SWAP}(s)  r = ReduceMax(s)  y = Mul(t, r)",
        "Softmax[1] Transpose[0, 2, 1, 3] ReduceMax Mul",
    ),
}  # fmt: skip


def _shown(node: ir.Node) -> str:
    perm, axis = node.attributes.get_ints("perm", None), node.attributes.get_int("axis", None)
    return node.op_type + (str(list(perm)) if perm else "" if axis is None else f"[{axis}]")


def _ops(model: ir.Model) -> str:
    return " ".join(_shown(node) for node in model.graph)


@pytest.mark.parametrize(("body", "ops"), MOVED.values(), ids=MOVED)
def test_it_moves_to_the_last_axis(body: str, ops: str, build: Build, compute: Compute, deviation: Deviation) -> None:
    model = load(build(f"{HEAD} {{ {body} }}"))
    before = compute(model)
    canonicalize(model)
    assert _ops(model) == ops
    assert deviation(before, compute(model)) < 1e-6
    assert [value.name for value in model.graph.outputs] == ["y"]


@pytest.mark.parametrize(("body", "ops"), KEPT.values(), ids=KEPT)
def test_it_stays_elsewhere(body: str, ops: str, build: Build) -> None:
    model = load(build(f"{HEAD} {{ {body} }}"))
    canonicalize(model)
    assert _ops(model) == ops


def test_its_reason_is_logged(build: Build, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG, logger="requant.ir.canonical"):
        canonicalize(load(build(f"{HEAD} {{ y = Softmax<axis = 1>(x) }}")))
    assert any("not over the last axis" in message for message in caplog.messages)


def test_an_output_in_between_is_kept(build: Build) -> None:
    text = HEAD.replace("y)", "y, float[B,G,H,I] s)")
    model = load(build(f"{text} {{ s = Softmax<axis = 1>(x)  y = {SWAP}(s) }}"))
    canonicalize(model)
    assert _ops(model) == "Softmax[1] Transpose[0, 2, 1, 3]"


@given(seed=st.integers(0, 2**32 - 1))
def test_any_orders_compute_the_same(seed: int, build: Build, deviation: Deviation) -> None:
    rng = np.random.default_rng(seed)
    rank = int(rng.integers(1, 6))
    shape = rng.integers(1, 5, rank)
    first, last = ([int(position) for position in rng.permutation(rank)] for _ in range(2))
    axis = int(rng.integers(-rank, rank))
    names = ",".join(f"D{number}" for number in range(rank))
    text = f"""(float[{",".join(map(str, shape))}] x) => (float[{names}] y) {{ t = Transpose<perm = {first}>(x)
        s = Softmax<axis = {axis}>(t)  y = Transpose<perm = {last}>(s) }}"""
    model = load(build(text))
    canonicalize(model)
    feed = {"x": rng.standard_normal(shape).astype(np.float32)}
    wanted, found = (runner(one, threads=1)(feed) for one in (load(build(text)), model))
    assert deviation(wanted, found) < 1e-6
    assert sum(node.op_type == "Transpose" for node in model.graph) <= 2
