"""The table of the zoo: which family is exported how, and what other tools make of some of the exports."""

from collections.abc import Callable, Iterator
from functools import partial

import onnx

from .. import synthetic
from . import converted
from .families import MODULES, TRANSFORMERS, WIDTH
from .wanted import Export

Builder = Callable[[], onnx.ModelProto]


SPELLINGS: dict[synthetic.Dialect, int] = {"paddle": 11, "pytorch": 14, "fused": 23}
"""The dialects of the synthetic models, and the opset at which each is built."""


def _exports(
    exporter: str, opset: int, *families: str, attention: str = "eager", dtype: str = "float32"
) -> list[Export]:
    return [Export(family, exporter, opset, attention, dtype) for family in families]


_RARE = ("phi3", "gpt-neox", "t5", "dinov2", "convnext")
_USUAL = tuple(family for family in (*TRANSFORMERS, "resnet", "mobilenet", "block") if family not in _RARE)

_SCRIPTED = tuple(name for name in MODULES if name != "spectral-norm")
"""The modules that TorchScript's exporter has symbols for."""

EXPORTS = (
    *_exports("script", 9, "vit", "resnet"),
    *_exports("script", 11, "bert", "mobilenet"),
    *_exports("script", 13, "swin"),
    *_exports("script", 14, "bert", "gpt2", "llama"),
    *_exports("script", 17, *_USUAL, *_RARE),
    *_exports("script", 17, "bert", "gpt2", "llama", "vit", "whisper", attention="sdpa"),
    *_exports("script", 17, "bert", "llama", "vit", "resnet", dtype="float16"),
    *_exports("script", 17, "bert", "vit", dtype="bfloat16"),
    *_exports("functions", 17, "block"),
    *_exports("dynamo", 18, *_USUAL, "branches"),
    *_exports("dynamo", 18, "bert", attention="sdpa"),
    *_exports("dynamo", 18, "bert", "vit", dtype="float16"),
    *_exports("dynamo", 18, "bert", "vit", "llama", dtype="bfloat16"),
    *_exports("dynamo", 20, "vit", "mobilenet"),
    *_exports("script", 17, *_SCRIPTED),
    *_exports("dynamo", 18, *MODULES),
    *_exports("dynamo", 23, "bert", "llama", "vit", attention="sdpa"),
)
"""What PyTorch's exporters make: every usual family with each of the two, and the unusual ways of some."""


def _converted() -> Iterator[tuple[str, Builder]]:
    for family in ("bert", "gpt2", "llama", "vit", "swin", "resnet"):
        yield _after(family, "ort", converted.optimized)
    for family, model_type in (("bert", "bert"), ("gpt2", "gpt2"), ("llama", "gpt2"), ("vit", "vit")):
        yield _after(family, "fused", partial(converted.fused, model_type=model_type))
    yield _after("bert", "fused-apart", partial(converted.fused, model_type="bert", apart=True))
    for family in ("bert", "resnet"):
        yield _after(family, "halved", converted.halved)


def _after(family: str, label: str, convert: Callable[[onnx.ModelProto], onnx.ModelProto]) -> tuple[str, Builder]:
    export = Export(family, "script", 17)
    return f"{export.name}-{label}", lambda: convert(_export(export))


def _export(wanted: Export) -> onnx.ModelProto:
    from .exporters import export  # torch is needed from here on

    return export(wanted)


def _synthetic() -> Iterator[tuple[str, Builder]]:
    for name, build in synthetic.BUILDERS.items():
        for dialect, opset in SPELLINGS.items():
            spec = synthetic.Transformer(width=WIDTH, opset=opset, dialect=dialect)
            yield f"{name.replace('_', '-')}-{dialect}{opset}", partial(build, spec)


ZOO: dict[str, Builder] = (
    {export.name: partial(_export, export) for export in EXPORTS} | dict(_converted()) | dict(_synthetic())
)
"""Every model by name."""
