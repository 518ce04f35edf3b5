"""The worth of each part of the recipe: the same calibration, with one part changed at a time.

Every row is the TensorRT artifact, run as written; search, plan and lowering are those of `requant.optimize`.
"""

from collections.abc import Iterator
from dataclasses import replace

import onnx_ir as ir

from models.subject import Subject
from requant.calib import batches, collect
from requant.ir import canonicalize, load
from requant.ir.formats import Format
from requant.passes import (
    Gptq,
    InsertQDQ,
    PlanAttention,
    PlanQuantizers,
    SearchTransforms,
    SelectLayers,
    SplitChannels,
)
from requant.passes.annotations import site_records
from requant.passes.cost_model.search import CANDIDATES
from requant.passes.solvers import (
    AwqSearch,
    CrossLayerEqualization,
    Gps,
    OutlierSuppressionPlus,
    PowerOfTwo,
    RepQ,
    ScaleOnly,
    Shift,
    SmoothQuant,
    Solver,
)
from requant.recipe import RECIPES, Recipe

ALONE: dict[str, Solver] = {
    "SmoothQuant 0.5": SmoothQuant(0.5),
    "AWQ": AwqSearch(),
    "Outlier Suppression+": OutlierSuppressionPlus(),
    "RepQ-ViT": RepQ(1.0),
    "RepQ at 0.5": RepQ(0.5),
    "GPS": Gps(),
    "QSM": SmoothQuant(1.0),
    "OutlierTune": SmoothQuant(1.0, shift=True),
    "power of two": PowerOfTwo(SmoothQuant(0.8)),
    "equalization": CrossLayerEqualization(),
    "shift to the centre": Shift(),
}
"""Solvers, each at every site instead of the search."""


def recipes() -> Iterator[tuple[str, Recipe]]:
    """Yield the title and the recipe of each row."""
    default = RECIPES["int8"]
    yield "plain", RECIPES["int8-plain"]
    yield "plain, weights by GPTQ", replace(default, rewrites=())
    for title, solver in ALONE.items():
        yield f"{title} alone", replace(default, rewrites=(SearchTransforms((solver,)),))
    scales = tuple(ScaleOnly(solver) for solver in CANDIDATES)
    yield "default, no shift", replace(default, rewrites=(SplitChannels(candidates=scales), SearchTransforms(scales)))
    yield "default, no inserted nodes", replace(default, rewrites=(SearchTransforms(insert=False),))
    yield "default, no splitting", replace(default, rewrites=(SearchTransforms(),))
    yield "default, weights to nearest", replace(default, rounding="nearest")
    yield "default", default


def six_bits() -> Iterator[tuple[str, Recipe]]:
    """Yield the same with 6 bits, by a Clip before each quantizer."""
    six = (Format(bits=6),)
    yield "plain, 6 bits", replace(RECIPES["int8-plain"], formats=six)
    rewrites = SplitChannels(formats=six), SearchTransforms(formats=six)
    yield "default, 6 bits", replace(RECIPES["int8"], rewrites=rewrites, formats=six)


class Calibrated:
    """A subject's model with its statistics, to which any recipe applies."""

    def __init__(self, subject: Subject, opset: int = 17) -> None:
        self.model = load(subject.model())
        canonicalize(self.model, opset)
        self.data = batches(subject.calibration, self.model)
        collect(self.model, self.data)

    def lowered(
        self,
        recipe: Recipe,
        target: str = "tensorrt",
        body: ir.DataType = ir.DataType.FLOAT,
        attention: Format | None = None,
    ) -> tuple[ir.Model, int]:
        """Return the artifact of ``recipe`` in float32, and the number of nodes that its rewrites added.

        It is lowered for float layers that will compute in ``body``, with ``attention`` in another format.
        """
        model = self.model.clone()
        SelectLayers(target=target, formats=recipe.formats)(model)
        for rewrite in recipe.rewrites:
            rewrite(model)
        PlanQuantizers(recipe.formats, recipe.ranges)(model)
        if recipe.rounding == "gptq":
            Gptq()(model)
        if attention is not None:
            PlanAttention(self.data, attention, target, body)(model)
        InsertQDQ(target, body=body)(model)
        return model, sum(record.added_nodes for record in site_records(model))
