"""The graph of an artifact: as text, and at ONNX Runtime's default optimization level."""

from collections import Counter
from pathlib import Path

import onnx_ir as ir
import onnxruntime

from requant.ir.save import to_bytes
from requant.runtime.check import Finding, check


def listing(model: ir.Model) -> list[str]:
    """Return the nodes as text, one a line."""
    return [
        f"{', '.join(value.name or '' for value in node.outputs)} = {node.op_type}"
        f"({', '.join(value.name or '' if value else '' for value in node.inputs)})"
        for node in model.graph
    ]


def fused_ops(model: ir.Model, folder: Path) -> Counter[str]:
    """Count the nodes of each kind that a default session has for the model, in bodies too."""
    options = onnxruntime.SessionOptions()
    options.optimized_model_filepath = str(folder / "optimized.onnx")
    options.log_severity_level = 3
    onnxruntime.InferenceSession(to_bytes(model), options, providers=["CPUExecutionProvider"])
    return Counter(node.op_type for node in ir.load(folder / "optimized.onnx").graph.all_nodes())


def unintended(model: ir.Model, target: str) -> list[Finding]:
    """List what ``target`` does not run as the artifact says, apart from a model that stays in float as a whole."""
    return [finding for finding in check(model, target) if finding.rule != "nothing-quantized"]


def before_exact_scales(model: ir.Model) -> ir.Model:
    """The same function at opset 22, as every supported ONNX Runtime computes it.

    1.23 has no quantizers of opset 23, and from 1.32 on QuantizeLinear divides in the type of its scale there.
    """
    copy = model.clone()
    for node in list(copy.graph):
        if node.op_type == "DequantizeLinear" and "output_dtype" in node.attributes:
            dtype = ir.DataType(node.attributes.pop("output_dtype").as_int())
            output = node.outputs[0]
            cast = ir.node("Cast", [output], {"to": int(dtype)})
            output.replace_all_uses_with(cast.outputs[0])
            cast.replace_input_with(0, output)
            cast.outputs[0].type, cast.outputs[0].shape = output.type, output.shape
            output.type = ir.TensorType(ir.DataType.FLOAT)
            copy.graph.insert_after(node, cast)
    copy.opset_imports[""] = min(copy.opset_imports[""], 22)
    copy.ir_version = min(copy.ir_version, 10)
    return copy
