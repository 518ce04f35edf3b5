"""What ONNX Runtime's own tools make of an exported model: fused, or in half precision."""

import tempfile
from pathlib import Path

import onnx
import onnxruntime as ort
from onnxruntime.transformers import float16, fusion_options, optimizer

from .families import HEADS, WIDTH


def optimized(model: onnx.ModelProto) -> onnx.ModelProto:
    """The graph that an ONNX Runtime session runs on a CPU, before it is laid out for one machine."""
    with tempfile.TemporaryDirectory() as folder:
        options = ort.SessionOptions()
        options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_EXTENDED
        options.optimized_model_filepath = str(Path(folder) / "optimized.onnx")
        options.log_severity_level = 3
        ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
        return onnx.load_model(options.optimized_model_filepath)


def fused(model: onnx.ModelProto, model_type: str, apart: bool = False) -> onnx.ModelProto:
    """What ``onnxruntime.transformers.optimizer`` makes of it: its operators for attention, skips, norms and GELU.

    Queries, keys and values are one linear inside Attention, or three ``apart`` before MultiHeadAttention.
    """
    options = fusion_options.FusionOptions(model_type)
    options.use_multi_head_attention = apart
    with tempfile.TemporaryDirectory() as folder:
        path = str(Path(folder) / "model.onnx")
        onnx.save_model(model, path)
        optimizer.optimize_model(path, model_type, HEADS, WIDTH, options, opt_level=0).save_model_to_file(path)
        return onnx.load_model(path)


def halved(model: onnx.ModelProto) -> onnx.ModelProto:
    """The model in float16, with casts around its inputs and outputs: nodes at the end, although others read them."""
    half: onnx.ModelProto = float16.convert_float_to_float16(model, keep_io_types=True)
    return half
