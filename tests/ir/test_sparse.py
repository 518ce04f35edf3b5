"""Sparse initializers are the dense weights as which ONNX Runtime loads them."""

import numpy as np
import onnx
import pytest

from requant.errors import SourceError
from requant.ir.load import load
from requant.runtime.session import runner

GRAPH = "g (float[B, 4] x) => (float[B, 3] y) { y = MatMul(x, w) }"
WEIGHT = np.array([[0, 2, 0], [0, 0, 0], [-1, 0, 0], [0, 0, 3]], np.float32)


def source(indices: object, dims: tuple[int, ...] = (4, 3)) -> onnx.ModelProto:
    proto = onnx.parser.parse_model(f'<ir_version: 8, opset_import: ["": 17]> {GRAPH}')
    values = onnx.numpy_helper.from_array(WEIGHT[WEIGHT != 0], "w")
    positions = onnx.numpy_helper.from_array(np.asarray(indices), "i")
    proto.graph.sparse_initializer.append(onnx.helper.make_sparse_tensor(values, positions, dims))
    return proto


@pytest.mark.parametrize("indices", [[1, 6, 11], [[0, 1], [2, 0], [3, 2]]], ids=["flat", "coordinates"])
def test_a_sparse_weight_is_read_as_the_dense_one(indices: object) -> None:
    proto = source(indices)
    x = np.random.default_rng(0).normal(size=(5, 4)).astype(np.float32)
    np.testing.assert_array_equal(load(proto).graph.initializers["w"].const_value.numpy(), WEIGHT)  # type: ignore[union-attr] # it is there
    np.testing.assert_allclose(runner(load(proto))({"x": x})[0].astype(np.float32), x @ WEIGHT, rtol=1e-6)
    assert len(proto.graph.sparse_initializer) == 1, "the source is not touched"


def test_a_sparse_weight_of_a_body_is_found() -> None:
    proto = source([1, 6, 11])
    inner = onnx.helper.make_node("MatMul", ["x", "w"], ["z"])
    body = onnx.helper.make_graph([inner], "b", [], [onnx.helper.make_tensor_value_info("z", 1, [None, 3])])
    body.sparse_initializer.extend(proto.graph.sparse_initializer)
    del proto.graph.sparse_initializer[:], proto.graph.node[:]
    proto.graph.input.append(onnx.helper.make_tensor_value_info("c", onnx.TensorProto.BOOL, []))
    proto.graph.node.append(onnx.helper.make_node("If", ["c"], ["y"], then_branch=body, else_branch=body))
    x = np.random.default_rng(0).normal(size=(5, 4)).astype(np.float32)
    output = runner(load(proto))({"x": x, "c": np.array(True)})[0].astype(np.float32)
    np.testing.assert_allclose(output, x @ WEIGHT, rtol=1e-6)


@pytest.mark.parametrize(
    ("indices", "dims", "reason"),
    [
        ([1, 6, 12], (4, 3), "indices outside of its shape"),
        ([-1, 6, 11], (4, 3), "indices outside of its shape"),
        ([1, 6], (4, 3), "indices outside of its shape"),
        ([[0, 3], [2, 0], [3, 2]], (4, 3), "indices outside of its shape"),
        ([[1, -1], [2, 0], [3, 2]], (4, 3), "indices outside of its shape"),
        ([[0], [2], [3]], (4, 3), "indices outside of its shape"),
        ([1.0, 6.0, 11.0], (4, 3), "indices outside of its shape"),
        ([1, 6, 11], (1 << 40, 3), "has no dense form"),
    ],
)
def test_an_invalid_sparse_tensor_is_refused(indices: object, dims: tuple[int, ...], reason: str) -> None:
    with pytest.raises(SourceError, match=f"sparse weight 'w' .*{reason}"):
        load(source(indices, dims))


def test_a_dangling_value_is_one_line(caplog: pytest.LogCaptureFixture) -> None:
    proto = source([1, 6, 11])
    del proto.graph.sparse_initializer[:]
    with pytest.raises(SourceError, match="reads 'w', which no node produces"):
        load(proto)
    assert not caplog.records, "the library that reads the file says nothing of its own"
