"""Number formats as artifacts for one engine, or the reason why it has none."""

import warnings
from dataclasses import dataclass

import onnx
import onnx_ir as ir

import requant
from models.subject import Feed
from requant.attention import Attention
from requant.ir.canonical.canonicalize import canonicalize
from requant.ir.load import load
from requant.passes.select_layers import SelectLayers
from requant.recipe import RECIPES
from requant.report import Report
from requant.result import Lowering, Precision
from requant.runtime.dtypes import dtypes


@dataclass(frozen=True)
class Variant:
    """A number format: a recipe, or none, what is computed in besides, and in attention.

    ``target`` is the one whose spelling is wanted, whatever the engine; empty is the engine's own.
    """

    name: str
    recipe: str = ""
    precision: Precision = "float16"
    attention: Attention | None = None
    target: str = ""


_TENSORRT = ("tensorrt", "tensorrt-rtx")

VARIANTS = (
    Variant("float32", precision="float32"),
    Variant("float16"),
    Variant("int8, a scale for each channel", "int8", target="tensorrt"),
    Variant("int8, common scale", "int8", target="tensorrt-rtx"),
    Variant("int8, attention in fp8", "int8", attention="fp8"),
    Variant("int8, attention in int8", "int8", attention="int8"),
    Variant("fp8", "fp8"),
    Variant("fp8, attention too", "fp8", attention="fp8"),
    Variant("mixed8", "mixed8", attention="float"),
    Variant("int8-weight", "int8-weight"),
    Variant("int4-weight", "int4-weight"),
)
"""Recipes are plain: transforms and rounding decide no kernel, and take minutes."""


def lowered(source: onnx.ModelProto, feeds: list[Feed], variant: Variant, target: str) -> ir.Model | str:
    """The artifact of ``variant`` for ``target``, or the reason why there is none."""
    if variant.target and target not in _TENSORRT:
        return "a spelling for TensorRT"
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            model = made(source, feeds, variant, variant.target or target)
    except requant.RequantError as error:
        return str(error)
    half = variant.precision == "float32" or ir.DataType.FLOAT16 in dtypes(model)
    return model if half else "nothing in the artifact is float16"


def made(source: onnx.ModelProto, feeds: list[Feed], variant: Variant, target: str) -> ir.Model:
    """The artifact of ``variant`` for ``target``.

    Raises:
        RequantError: the engine has no kernels for it; the text says why.
    """
    if variant.recipe:
        result = requant.optimize(
            source, feeds, RECIPES[variant.recipe].plain, target,
            precision=variant.precision, attention=variant.attention,
        )  # fmt: skip
        if result.report.message:
            raise requant.TargetError(result.report.message)
        return result.model
    lowering, model = Lowering(target, variant.precision), load(source)
    if variant.precision == "float32":
        return model
    canonicalize(model)
    SelectLayers(keep=("*",))(model)
    return lowering.apply(model, Report(variant.name, variant.name, target))
