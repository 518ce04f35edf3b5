"""Products with a constant weight get one form that computes the same; what does not fit keeps its own."""

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
from requant.ir.linear import Linear, find_linears
from requant.ir.load import load
from requant.runtime.session import runner

Arrays: TypeAlias = list[NDArray[np.generic]]
Build: TypeAlias = Callable[[str], onnx.ModelProto]
Compute: TypeAlias = Callable[[ir.Model], Arrays]
Deviation: TypeAlias = Callable[[Arrays, Arrays], float]

ROWS = "(float[B,5,24] x) => (float[P,Q,R] y) <float[24,18] w, float[1,24,18] u, float[1,1,24,18] v, float[18] b>"
COLUMNS = "(float[B,24,5] x) => (float[B,18,5] y) <float[18,24] w, float[1,18,24] u, float[18,1] b, float[24,18] t>"
BATCH = "(float[B,3,5,24] x) => (float[P,Q,R,S] y) <float[3,24,18] w, float[1,3,24,18] u>"
SHARED = "(float[B,1,5,24] x) => (float[P,Q,R,S] y) <float[3,24,18] w, float[2,3,24,18] u>"
MATRIX = "(float[5,24] x) => (float[P,Q,R] y) <float[3,24,18] w>"
VECTOR = "(float[24] x) => (float[Q] y) <float[18,24] w, float[1,24,18] u>"
GEMM = """(float[5,24] x, float[5,18] z) => (float[5,18] y) <float[24,18] w, float[18] b, float[5,1] c, float[5,18] d,
          float s>"""
TURNED = "(float[24,5] x) => (float[N,M] y) <float[24,18] w, float[18,24] u, float[18] b, float[5] c, float[18,1] d>"
IMAGE = "(float[B,6,7,7] x, float[4] z) => (float[B,4,N,M] y) <float[4,6,3,3] w, float[6,4,3,3] t>"
HEADS = "(float[B,5,4,8] x) => (float[P,Q,R] y) <float[4,8,24] w, float[24,4,8] u>"
SPLIT = "(float[B,5,24] x) => (float[P,Q,R,S] y) <float[4,24,16] w, float[24,4,16] u, float[16,4,24] v>"
EACH = "(float[B,4,5,24] x) => (float[P,Q,R,S] y) <float[4,24,18] w, float[4,3,24,18] u>"
LOCAL = "(float[4,24] x) => (float[P,Q] y) <float[4,24,18] w>"

FORMS = {
    "a unit batch": (f"{ROWS} {{ y = MatMul(x, u) }}", "MatMul"),
    "a unit batch of a higher rank": (
        "(float[B,5,24] x) => (float[P,Q,R,S] y) <float[1,1,24,18] v> { y = MatMul(x, v) }",
        "MatMul Unsqueeze",
    ),
    "a vector by a unit batch": ("(float[24] x) => (float[P,Q] y) <float[1,24,18] u> { y = MatMul(x, u) }",
                                 "MatMul Unsqueeze"),
    "a unit batch of a batch": (f"{BATCH} {{ y = MatMul(x, u) }}", "MatMul"),
    "a batch": (f"{BATCH} {{ y = MatMul(x, w) }}", "MatMul"),
    "a batch of one x": (f"{SHARED} {{ y = MatMul(x, w) }}", "MatMul Squeeze Reshape Transpose"),
    "a batch of one matrix": (f"{MATRIX} {{ y = MatMul(x, w) }}", "MatMul Reshape Transpose"),
    "a batch of one vector": ("(float[24] x) => (float[P,Q] y) <float[3,24,18] w> { y = MatMul(x, w) }",
                              "MatMul Reshape"),
    "a weight on the left": (f"{COLUMNS} {{ y = MatMul(w, x) }}", "Transpose MatMul Transpose"),
    "a unit batch on the left": (f"{COLUMNS} {{ y = MatMul(u, x) }}", "Transpose MatMul Transpose"),
    "a bias of rows on the left": (
        f"{COLUMNS} {{ m = MatMul(w, x)  y = Add(m, b) }}", "Transpose MatMul Add Transpose"
    ),
    "two weights on the left": (
        f"{COLUMNS} {{ m = MatMul(w, x)  a = Add(m, b)  r = Relu(a)  n = MatMul(t, r)  y = MatMul(w, n) }}",
        "Transpose MatMul Add Relu MatMul MatMul Transpose",
    ),
    "a batch on the left": (
        "(float[B,3,24,5] x) => (float[P,Q,R,S] y) <float[3,18,24] w> { y = MatMul(w, x) }",
        "Transpose MatMul Transpose",
    ),
    "a vector on the right": ("(float[24] x) => (float[Q] y) <float[18,24] w> { y = MatMul(w, x) }", "MatMul"),
    "a Gemm of transposed data": (f"{TURNED} {{ y = Gemm<transA = 1>(x, w, b) }}", "Transpose Gemm"),
    "a Gemm of a weight and data": (f"{TURNED} {{ y = Gemm(u, x, c) }}", "Transpose Gemm Transpose Add"),
    "a transposed weight and data": (
        f"{TURNED} {{ y = Gemm<transA = 1, alpha = 0.5, beta = 2.0>(w, x, d) }}", "Transpose Gemm Transpose Mul Add"
    ),
    "a Gemm without effect of C": (f"{GEMM} {{ y = Gemm<beta = 0.0>(x, w, d) }}", "Gemm"),
    "a Gemm with a scalar": (f"{GEMM} {{ y = Gemm<alpha = 0.5>(x, w, s) }}", "Gemm"),
    "a Gemm with a C for each row": (f"{GEMM} {{ y = Gemm(x, w, c) }}", "Gemm Add"),
    "a Gemm with a matrix C": (f"{GEMM} {{ y = Gemm<beta = 0.5>(x, w, d) }}", "Gemm Mul Add"),
    "a Gemm with a residual": (f"{GEMM} {{ y = Gemm<alpha = 2.0, beta = 0.5>(x, w, z) }}", "Mul Gemm Add"),
    "a Conv with a computed bias": (f"{IMAGE} {{ y = Conv(x, w, z) }}", "Unsqueeze Conv Add"),
    "a ConvTranspose with a computed bias": (
        f"{IMAGE} {{ y = ConvTranspose(x, t, z) }}", "Unsqueeze ConvTranspose Add"
    ),
    "an Einsum": (f'{ROWS} {{ y = Einsum<equation = "bik, kn -> bin">(x, w) }}', "MatMul"),
    "an Einsum with an ellipsis": (f'{ROWS} {{ y = Einsum<equation = "...k,kn->...n">(x, w) }}', "MatMul"),
    "an Einsum without an arrow": (
        '(float[B,24] x) => (float[B,N] y) <float[24,18] w> { y = Einsum<equation = "ab,bc">(x, w) }', "MatMul"
    ),
    "an Einsum of a weight and data": (f'{ROWS} {{ y = Einsum<equation = "kn,bik->bin">(w, x) }}', "MatMul"),
    "an Einsum that joins heads": (
        f'{HEADS} {{ y = Einsum<equation = "bihd,hde->bie">(x, w) }}', "Reshape MatMul"
    ),
    "an Einsum that joins heads of a transposed weight": (
        f'{HEADS} {{ y = Einsum<equation = "bihd,ehd->bie">(x, u) }}', "Reshape MatMul"
    ),
    "an Einsum that splits heads": (
        f'{SPLIT} {{ y = Einsum<equation = "bik,hkd->bihd">(x, w) }}', "MatMul Reshape"
    ),
    "an Einsum that moves heads": (
        f'{SPLIT} {{ y = Einsum<equation = "bik,khd->bhid">(x, u) }}', "MatMul Reshape Transpose"
    ),
    "an Einsum that turns all": (
        f'{SPLIT} {{ y = Einsum<equation = "bik,dhk->dhib">(x, v) }}', "MatMul Reshape Transpose"
    ),
    "an Einsum for each head": (f'{EACH} {{ y = Einsum<equation = "bhik,hkn->bhin">(x, w) }}', "MatMul"),
    "an Einsum for one head": (
        '(float[B,1,5,24] x) => (float[P,Q,R,S] y) <float[1,24,18] w> '
        '{ y = Einsum<equation = "bhik,hkn->bhin">(x, w) }', "MatMul"
    ),
    "an Einsum for each head, moved": (
        f'{EACH} {{ y = Einsum<equation = "bhik,hkn->bihn">(x, w) }}', "MatMul Transpose"
    ),
    "an Einsum for each head of many outputs": (
        '(float[B,4,5,24] x) => (float[P,Q,R,S,T] y) <float[4,3,24,18] u> '
        '{ y = Einsum<equation = "bhik,hmkn->bihmn">(x, u) }',
        "MatMul Reshape Transpose",
    ),
    "an Einsum of a vector for each head": (
        f'{LOCAL} {{ y = Einsum<equation = "hk,hkn->hn">(x, w) }}', "Reshape MatMul Reshape"
    ),
}  # fmt: skip

KEPT = {
    "too few channels on the left": "(float[B,24,5] x) => (float[B,6,5] y) <float[6,24] w> { y = MatMul(w, x) }",
    "data of unknown rank": "(float[B,24,5] x, int64[n] s) => (float y) <float[18,24] w> "
    "{ r = Reshape(x, s)  y = MatMul(w, r) }",
    "a vector": "(float[B,24] x) => (float[B] y) <float[24] w> { y = MatMul(x, w) }",
    "an Einsum that sums data": f'{HEADS} {{ y = Einsum<equation = "bihd,hde->ie">(x, w) }}',
    "an Einsum that scales": '(float[B,24] x) => (float[B,24] y) <float[24] w> '
    '{ y = Einsum<equation = "bk,k->bk">(x, w) }',
    "an Einsum of one value": '(float[4,24] x) => (float[24,4] y) { y = Einsum<equation = "ij->ji">(x) }',
    "an Einsum that sums a unit batch": '(float[B,24] x) => (float[B,18] y) <float[1,24,18] w> '
    '{ y = Einsum<equation = "bk,ikn->bn">(x, w) }',
    "an Einsum of two activations": '(float[4,24] x) => (float[4,4] y) { y = Einsum<equation = "ik,jk->ij">(x, x) }',
    "an Einsum of few outputs": '(float[B,24] x) => (float[B,3] y) <float[24,3] w> '
    '{ y = Einsum<equation = "bk,kn->bn">(x, w) }',
}  # fmt: skip


KINDS = ("rows", "batch", "inputs", "outputs")


def canonical(text: str, build: Build) -> ir.Model:
    model = load(build(text))
    canonicalize(model)
    return model


def ops(model: ir.Model) -> str:
    return " ".join(node.op_type for node in model.graph)


@pytest.mark.parametrize("name", FORMS)
def test_products_get_one_form_that_computes_the_same(
    name: str, build: Build, compute: Compute, deviation: Deviation
) -> None:
    text, expected = FORMS[name]
    model = canonical(text, build)
    assert sorted(ops(model).split()) == sorted(expected.split())
    assert any(find_linears(model.graph))
    assert deviation(compute(load(build(text))), compute(model)) < 1e-5


@pytest.mark.parametrize("name", KEPT)
def test_other_products_keep_their_form(name: str, build: Build) -> None:
    text = KEPT[name]
    assert ops(canonical(text, build)) == ops(load(build(text)))


def test_the_layer_keeps_its_name_and_the_graph_its_outputs(build: Build) -> None:
    model = canonical(f"{COLUMNS} {{ m = MatMul(w, x)  y = Add(m, b) }}", build)
    (linear,) = find_linears(model.graph)
    assert linear.name == "m"
    assert linear.bias is not None
    assert [value.name for value in model.graph.outputs] == ["y"]


def test_a_weight_that_several_nodes_read_is_laid_out_once(build: Build) -> None:
    model = canonical(f"{COLUMNS} {{ m = MatMul(w, x)  t1 = MatMul(t, m)  n = MatMul(w, t1)  y = Add(m, n) }}", build)
    first, _, last = find_linears(model.graph)
    assert first.weight is last.weight


def test_a_batch_of_matrices_is_one_linear(build: Build) -> None:
    (linear,) = find_linears(canonical(f"{BATCH} {{ y = MatMul(x, w) }}", build).graph)
    assert (linear.batched, linear.inputs, linear.outputs) == (True, 24, 18)
    assert linear.shift_blocked == "has several matrices, and so several biases"
    weight = linear.weight.const_value
    assert weight is not None
    assert np.array_equal(linear.matrix(), np.concatenate([*weight.numpy()], axis=1))


def test_a_convolution_backwards_is_a_linear(build: Build) -> None:
    text = "(float[B,6,5,5] x) => (float[B,4,N,M] y) <float[6,4,3,3] w, float[4] b> { y = ConvTranspose(x, w, b) }"
    (linear,) = find_linears(canonical(text, build).graph)
    assert isinstance(linear, Linear)
    assert (linear.inputs, linear.outputs, linear.data_axis) == (6, 4, 1)
    assert linear.shift_blocked


@given(st.data())
def test_any_linear_einsum_computes_the_same(data: st.DataObject) -> None:
    counts = [data.draw(st.integers(least, 2), label=kind) for least, kind in zip((0, 0, 1, 1), KINDS, strict=True)]
    names = iter("abcdefgh")
    rows, batch, inputs, outputs = ("".join(next(names) for _ in range(count)) for count in counts)
    terms = ["".join(data.draw(st.permutations(term))) for term in (rows + batch + inputs, batch + inputs + outputs)]
    result = "".join(data.draw(st.permutations(rows + batch + outputs)))
    sizes = dict.fromkeys(rows, 3) | dict.fromkeys(batch, 2) | dict.fromkeys(inputs + outputs, 16)
    x, w = (
        np.random.default_rng(seed).normal(size=[sizes[label] for label in term]) for seed, term in enumerate(terms)
    )
    order = data.draw(st.permutations([0, 1]))
    equation = f"{','.join(terms[index] for index in order)}->{result}"
    operands = ["x", "w"]
    model = onnx.helper.make_model(
        onnx.helper.make_graph(
            [onnx.helper.make_node("Einsum", [operands[index] for index in order], ["y"], equation=equation)],
            "g",
            [onnx.helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, x.shape)],
            [onnx.helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, [sizes[label] for label in result])],
            [onnx.numpy_helper.from_array(w.astype(np.float32), "w")],
        ),
        opset_imports=[onnx.helper.make_opsetid("", 17)],
        ir_version=8,
    )
    graph = load(model)
    canonicalize(graph)
    assert "MatMul" in ops(graph)
    assert "Einsum" not in ops(graph)
    (actual,) = runner(graph)({"x": x.astype(np.float32)})
    assert isinstance(actual, np.ndarray)
    np.testing.assert_allclose(
        actual.astype(np.float32), np.einsum(f"{terms[0]},{terms[1]}->{result}", x, w), atol=1e-3
    )


@given(st.data())
def test_any_matmul_with_a_constant_computes_the_same(data: st.DataObject) -> None:
    axes = [1, *data.draw(st.lists(st.integers(2, 3), max_size=3), label="axes")]
    left = data.draw(st.booleans(), label="left")
    shapes = []
    for name, plane in (("x", (16, 5) if left else (5, 24)), ("w", (18, 16) if left else (24, 18))):
        kept = data.draw(st.lists(st.booleans(), min_size=len(axes), max_size=len(axes)), label=name)
        batch = [size if keep else 1 for size, keep in zip(axes, kept, strict=True)]
        start = data.draw(st.integers(0, len(batch)), label=f"rank of {name}")
        shapes.append([*batch[start:], *plane])
    if not left and len(shapes[0]) == 2 and data.draw(st.booleans(), label="vector"):
        shapes[0] = [24]
    x, w = (np.random.default_rng(seed).normal(size=shape) for seed, shape in enumerate(shapes))
    expected = np.matmul(w, x) if left else np.matmul(x, w)
    dims = [f"d{axis}" if size != 1 and data.draw(st.booleans()) else size for axis, size in enumerate(shapes[0])]
    dims[-2:] = shapes[0][-2:]
    model = onnx.helper.make_model(
        onnx.helper.make_graph(
            [onnx.helper.make_node("MatMul", ["w", "x"] if left else ["x", "w"], ["y"])],
            "g",
            [onnx.helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, dims)],
            [onnx.helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, [None] * expected.ndim)],
            [onnx.numpy_helper.from_array(w.astype(np.float32), "w")],
        ),
        opset_imports=[onnx.helper.make_opsetid("", 17)],
        ir_version=8,
    )
    graph = load(model)
    canonicalize(graph)
    (linear,) = find_linears(graph.graph)
    assert linear.current_data is not linear.weight
    (actual,) = runner(graph)({"x": x.astype(np.float32)})
    assert isinstance(actual, np.ndarray)
    np.testing.assert_allclose(actual.astype(np.float32), expected, atol=1e-3)
