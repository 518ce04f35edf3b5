"""The builder's list of layers, as recorded from its log: names, shapes, types and bytes."""

from math import inf

import pytest

from requant.errors import TargetError
from requant.runtime.engine_layer import EngineTensor
from requant.runtime.trt.engine_layers import engine_layers
from tests.runtime.trt.listings import listing


def line(name: str = "a", dims: str = "2,3", dtype: str = "Half", metadata: str = "[ONNX Layer: n]") -> str:
    """Write a layer as the builder does, from x to y of one type."""
    x, y = (
        f"{{ Name: {tensor}, Dimensions: [{dims}], Strides: [3,1], StrideOrder: [1,0], Datatype: {dtype}, "
        "Format: (Linear) Row major linear format }"
        for tensor in "xy"
    )
    parts = f"Inputs: [ {x}], Constants: [], Outputs: [ {y}], TacticName: , StreamId: 0"
    return f"Name: {name}, LayerType: kgen, {parts}, Metadata: {metadata}"


def test_layers_have_names_tensors_and_nodes() -> None:
    first, second = engine_layers(["The network has 3 layers", listing("activation_scales")])
    assert (first.kind, second.kind) == ("kgen", "runtime_fusion")
    assert second.inputs == (EngineTensor("__myln_k_arg__bb1_2_myl0", (128, 256), "int8"),)
    assert [(tensor.shape, tensor.dtype) for tensor in second.constants] == [
        ((1, 512), "float32"),
        ((256, 512), "int8"),
        ((1, 256), "float32"),
    ]
    assert second.nodes == ("d_DequantizeLinear", "w_DequantizeLinear", "y_MatMul")
    assert second.nbytes == 128 * 256 + 4 * 512 + 256 * 512 + 4 * 256 + 4 * 128 * 512


@pytest.mark.parametrize(
    ("name", "count"), [("pre_norm_int8_float16", 15), ("pre_norm_int8_float32", 17), ("pre_norm_int8_weight", 23)]
)
def test_each_line_is_a_layer(name: str, count: int) -> None:
    layers = engine_layers([listing(name)])
    assert len(layers) == count
    assert all(layer.outputs for layer in layers if layer.kind not in ("signal", "wait"))


def test_names_may_have_any_punctuation() -> None:
    metadata = "[ONNX Layer: heads[0], query]\x1f[ONNX Layer: {b}]"
    (layer,) = engine_layers([line("heads[0], query+{b}", metadata=metadata)])
    assert layer.name == "heads[0], query+{b}"
    assert layer.nodes == ("heads[0], query", "{b}")


def test_a_layer_of_no_node_has_none() -> None:
    (layer,) = engine_layers([line(metadata="")])
    assert layer.nodes == ()


def test_a_tensor_that_is_read_twice_counts_once() -> None:
    text = line()
    twice = text.replace("Inputs: [ ", f"Inputs: [ {text[text.index('{') : text.index('}') + 1]}, ")
    assert engine_layers([twice])[0].nbytes == engine_layers([text])[0].nbytes == 2 * 2 * 6


def test_dynamic_shapes_have_no_size() -> None:
    (layer,) = engine_layers([line(dims="-1,3")])
    assert layer.nbytes == inf


def test_a_type_without_a_size_is_an_error() -> None:
    (layer,) = engine_layers([line(dtype="Float7")])
    with pytest.raises(TargetError, match="has 'x' in 'Float7', which has no size here"):
        _ = layer.nbytes


def test_other_messages_list_no_layers() -> None:
    assert engine_layers(["Registering layer: a", "Name: x, IOMode: Input"]) == ()
