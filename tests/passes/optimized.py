"""The graph of an artifact at ONNX Runtime's default optimization level."""

from collections import Counter
from pathlib import Path

import onnx
import onnx_ir as ir
import onnxruntime

from requant.ir.save import to_bytes
from requant.runtime.check import Finding, check


def fused_ops(model: ir.Model, folder: Path) -> Counter[str]:
    """Count the nodes of each kind that a default session has for the model."""
    options = onnxruntime.SessionOptions()
    options.optimized_model_filepath = str(folder / "optimized.onnx")
    options.log_severity_level = 3
    onnxruntime.InferenceSession(to_bytes(model), options, providers=["CPUExecutionProvider"])
    return Counter(node.op_type for node in onnx.load(folder / "optimized.onnx").graph.node)


def unintended(model: ir.Model, target: str) -> list[Finding]:
    """List what ``target`` does not run as the artifact says, apart from a model that stays in float as a whole."""
    return [finding for finding in check(model, target) if finding.rule != "nothing-quantized"]
