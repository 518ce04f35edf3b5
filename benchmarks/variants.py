"""Number formats as artifacts for one engine, or the reason why it has none."""

import warnings
from dataclasses import dataclass

import onnx
import onnx_ir as ir

import requant
from models.subject import Feed
from requant.ir.canonical.canonicalize import canonicalize
from requant.ir.load import load
from requant.passes.select_layers import SelectLayers
from requant.report import Report
from requant.result import Lowering, Precision
from requant.runtime.dtypes import dtypes


@dataclass(frozen=True)
class Variant:
    """A number format: a recipe, or none, and what is computed in besides."""

    name: str
    recipe: str = ""
    precision: Precision = "float16"


VARIANTS = (
    Variant("float32", precision="float32"),
    Variant("float16"),
    Variant("int8", "int8"),
    Variant("fp8", "fp8"),
    Variant("int8-weight", "int8-weight"),
    Variant("int4-weight", "int4-weight"),
)


def lowered(source: onnx.ModelProto, feeds: list[Feed], variant: Variant, target: str) -> ir.Model | str:
    """The artifact of ``variant`` for ``target``, or the reason why there is none."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            model = made(source, feeds, variant, target)
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
        result = requant.optimize(source, feeds, variant.recipe, target, precision=variant.precision)
        if result.report.message:
            raise requant.TargetError(result.report.message)
        return result.model
    lowering, model = Lowering(target, variant.precision), load(source)
    if variant.precision == "float32":
        return model
    canonicalize(model)
    SelectLayers(keep=("*",))(model)
    return lowering.apply(model, Report(variant.name, variant.name, target))
