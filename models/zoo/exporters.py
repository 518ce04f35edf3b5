"""PyTorch's two exporters, from a family's name to an onnx.ModelProto."""

import io
import logging
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from operator import attrgetter

import onnx
import torch
import transformers
from torch import Tensor, nn

from .families import MODULES, NETS, TRANSFORMERS, Family, Shape
from .modules import MODULES as MODULE_BUILDERS
from .nets import NETS as NET_BUILDERS
from .nets import Layer
from .wanted import Export
from .weights import randomize

TRACED: Mapping[str | int, int] = {"batch": 2, "tokens": 7}
"""The sizes of dynamic dimensions while a module is traced."""

_BUILDERS = NET_BUILDERS | MODULE_BUILDERS

INTEGERS = ("input_ids", "attention_mask", "position_ids")
"""The inputs that are no floats."""


def export(wanted: Export) -> onnx.ModelProto:
    """Build the module with its seeded weights, in its element type, and export it as ``wanted`` says."""
    module, inputs = _module(wanted.family, wanted.attention)
    randomize(module)
    dtype = getattr(torch, wanted.dtype)
    with _quiet():
        return _EXPORTERS[wanted.exporter](module.to(dtype).eval(), inputs, dtype, wanted.opset)


class First(nn.Module):
    """A model of transformers as a function of tensors that returns the first of its outputs."""

    def __init__(self, model: nn.Module, names: tuple[str, ...]) -> None:
        super().__init__()
        self.model, self.names = model, names

    def forward(self, *inputs: Tensor) -> Tensor:
        return self.model(**dict(zip(self.names, inputs, strict=True)), return_dict=False)[0]


def _module(family: str, attention: str) -> tuple[nn.Module, Mapping[str, Shape]]:
    if family in _BUILDERS:
        return _BUILDERS[family](), (NETS | MODULES)[family]
    found = TRANSFORMERS[family]
    return First(_model(found, attention), tuple(found.inputs)), found.inputs


def _model(family: Family, attention: str) -> nn.Module:
    config = transformers.AutoConfig.for_model(family.model_type, **family.settings)
    model = getattr(transformers, family.auto).from_config(config, attn_implementation=attention)
    return attrgetter(family.part)(model) if family.part else model


def _scripted(
    module: nn.Module, inputs: Mapping[str, Shape], dtype: torch.dtype, opset: int, **options: object
) -> onnx.ModelProto:
    axes = {name: _dynamic(shape) for name, shape in inputs.items()}
    file = io.BytesIO()
    torch.onnx.export(
        module,
        _example(inputs, dtype),
        file,
        dynamo=False,
        opset_version=opset,
        input_names=list(inputs),
        output_names=["y"],
        dynamic_axes=axes,
        **options,
    )
    return onnx.load_model_from_string(file.getvalue())


def _with_functions(module: nn.Module, inputs: Mapping[str, Shape], dtype: torch.dtype, opset: int) -> onnx.ModelProto:
    return _scripted(module, inputs, dtype, opset, export_modules_as_functions={Layer, nn.LayerNorm})


def _traced(module: nn.Module, inputs: Mapping[str, Shape], dtype: torch.dtype, opset: int) -> onnx.ModelProto:
    axes = tuple(_dynamic(shape) for shape in inputs.values())
    program = torch.onnx.export(
        module,
        _example(inputs, dtype),
        dynamo=True,
        opset_version=opset,
        input_names=list(inputs),
        output_names=["y"],
        dynamic_shapes=(axes,) if isinstance(module, First) else axes,
        verbose=False,
    )
    model: onnx.ModelProto = program.model_proto
    return model


_EXPORTERS = {"script": _scripted, "functions": _with_functions, "dynamo": _traced}


def _dynamic(shape: Shape) -> dict[int, str]:
    return {axis: dim for axis, dim in enumerate(shape) if isinstance(dim, str)}


def _example(inputs: Mapping[str, Shape], dtype: torch.dtype) -> tuple[Tensor, ...]:
    return tuple(
        torch.ones([TRACED.get(dim, dim) for dim in shape], dtype=torch.int64 if name in INTEGERS else dtype)
        for name, shape in inputs.items()
    )


@contextmanager
def _quiet() -> Iterator[None]:
    """Exporters warn about themselves."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)
