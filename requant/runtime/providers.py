"""ONNX Runtime's execution providers: which one serves a target, and the options that matter there.

Nothing on a GPU has been run by this project yet: the rows of CUDA and TensorRT are from their sources and wheels.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import onnx_ir as ir

from ..errors import OutputError, TargetError
from ..ir.validate import stored_tensors
from .dtypes import dtypes
from .profiles import BOUNDS, Profiles
from .targets import processor

Options = dict[str, str]

CPU, CUDA = "CPUExecutionProvider", "CUDAExecutionProvider"


@dataclass(frozen=True)
class Provider:
    """How ONNX Runtime is set up for a target.

    Attributes:
        name: what ONNX Runtime calls the provider.
        install: what to install for it.
        level: how far ONNX Runtime may rewrite the graph first.
        config: the session's entries for a model.
        options: the provider's own options for a model.
        cache: options that make it keep what it builds in "{folder}", for the model "{model}".
        profiles: the option for dynamic shapes at "{bound}", and what separates inputs in it.
        rest: providers of the nodes that it leaves; the CPU comes last anyway.
        libraries: a module that, when imported, loads what the provider is linked against.
        plugin: the module of the package that brings the provider, where it is not part of ONNX Runtime.
    """

    name: str = CPU
    install: str = "pip install 'requant[cpu]'"
    level: str = "ORT_ENABLE_ALL"
    config: Callable[[ir.Model], Options] | None = None
    options: Callable[[ir.Model], Options] | None = None
    cache: Mapping[str, str] = field(default_factory=dict)
    profiles: tuple[str, str] | None = None
    rest: Sequence[str] = ()
    libraries: str = ""
    plugin: str = ""

    @property
    def examines(self) -> bool:
        """Whether it has to see the model before it can be set up."""
        return self.config is not None or self.options is not None

    def entries(self, graph: ir.Model | None) -> Options:
        """The session's entries for ``graph``, which may be None if the provider examines none."""
        return self.config(graph) if self.config and graph else {}

    def own_options(self, graph: ir.Model | None, profiles: Profiles) -> Options:
        """The provider's options for ``graph`` and its dynamic shapes."""
        options = dict(self.options(graph)) if self.options and graph else {}
        if profiles and self.profiles:
            name, separator = self.profiles
            for index, bound in enumerate(BOUNDS):
                shapes = (f"{key}:{'x'.join(map(str, three[index]))}" for key, three in profiles.items())
                options[name.format(bound=bound)] = separator.join(shapes)
        return options

    def cache_options(self, folder: str | Path, model: str) -> Options:
        """The options that keep what is built of ``model``, a fingerprint, in ``folder``, which is made if it has none.

        Raises:
            OutputError: the folder cannot be made.
        """
        try:
            Path(folder).mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise OutputError(f"{folder}: cannot be made ({error.strerror})") from error
        return {name: value.format(folder=folder, model=model) for name, value in self.cache.items()}


def _without_saturation(model: ir.Model) -> Options:
    """x86 without VNNI adds two products of 8 bits in 16: codes beyond ±64 need the slower kernel that does not."""
    weights = (tensor for tensor in stored_tensors(model) if tensor.dtype == ir.DataType.INT8 and tensor.size > 1)
    wide = any(int(np.abs(tensor.numpy().astype(np.int16)).max()) > 64 for tensor in weights)
    return {"session.x64quantprecision": "1"} if wide else {}


def _folded_weights(model: ir.Model) -> Options:
    """CUDA has no integer product of quantized data: at least fold what is constant. Blocked weights stay as codes."""
    quantized = any(node.op_type == "QuantizeLinear" for node in model.graph.all_nodes())
    return {"session.disable_quant_qdq": "1"} if quantized else {}


def _allowed_types(model: ir.Model) -> Options:
    """TensorRT 10 under ONNX Runtime is weakly typed: int8 is used if allowed, and then float16 for the rest."""
    found = dtypes(model)
    half = found & {ir.DataType.FLOAT16, ir.DataType.INT8, ir.DataType.INT4, ir.DataType.FLOAT8E4M3FN}
    flags = {"trt_int8_enable": ir.DataType.INT8 in found, "trt_fp16_enable": bool(half)}
    return {name: "1" for name, wanted in flags.items() if wanted} | (
        {"trt_bf16_enable": "1"} if ir.DataType.BFLOAT16 in found else {}
    )


PROVIDERS = {
    "cpu": Provider(),
    "cpu-avx2": Provider(config=_without_saturation),
    "cpu-arm": Provider(config=lambda model: {"session.qdqisint8allowed": "1"}),
    "cuda": Provider(CUDA, "pip install 'requant[gpu]'", config=_folded_weights),
    "tensorrt": Provider(
        "TensorrtExecutionProvider",
        "pip install 'requant[tensorrt]'",
        level="ORT_DISABLE_ALL",  # one of the optimizations adds an int32 bias, which TensorRT's parser refuses
        options=_allowed_types,
        cache={
            "trt_engine_cache_enable": "1",
            "trt_engine_cache_path": "{folder}",
            "trt_engine_cache_prefix": "{model}",  # by itself it takes models that differ in weights alone for the same
            "trt_timing_cache_enable": "1",
            "trt_timing_cache_path": "{folder}",
        },
        profiles=("trt_profile_{bound}_shapes", ","),
        rest=(CUDA,),
        libraries="tensorrt_libs",
    ),
    "tensorrt-rtx": Provider(
        "NvTensorRTRTXExecutionProvider",
        "pip install 'onnxruntime>=1.24' onnxruntime-ep-nv-tensorrt-rtx",
        level="ORT_DISABLE_ALL",
        cache={"nv_runtime_cache_path": "{folder}"},
        profiles=("nv_profile_{bound}_shapes", ";"),
        plugin="onnxruntime_ep_nv_tensorrt_rtx",
    ),
}
"""By target. OpenVINO is not here: its own runtime runs it."""


def provider(target: str) -> Provider:
    """The row of ``target``; for "cpu" that of this machine's processor.

    Raises:
        TargetError: no provider of ONNX Runtime serves it.
    """
    name = processor() if target == "cpu" else target
    if name not in PROVIDERS:
        raise TargetError(f"ONNX Runtime has no provider for {target!r}: choose one of {', '.join(PROVIDERS)}")
    return PROVIDERS[name]
