"""Options for writing a plan for an engine, and the writing."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Literal, get_args

import onnx_ir as ir

from .choices import require_choice
from .errors import RequantError
from .ir.float_types import file_types
from .ir.interface import require_interface
from .ir.opset import lower_opset
from .passes.convert_precision import ConvertPrecision
from .passes.insert_qdq import InsertQDQ
from .passes.prevent_fusions import PreventFusions
from .passes.restore_types import RestoreTypes
from .report import Report
from .runtime.prices import Prices
from .runtime.rules.operands import TARGET
from .runtime.targets import ROUNDS_HALVES, Target
from .runtime.targets import target as find_target
from .runtime.targets.common import ONNXRUNTIME
from .runtime.versions import number, parsed

Precision = Literal["auto", "float32", "float16", "bfloat16"]
"""Floating-point types of the layers that are not quantized; "auto" depends on the file and the engine."""


_HALVES: dict[Precision, ir.DataType] = {"float16": ir.DataType.FLOAT16, "bfloat16": ir.DataType.BFLOAT16}
_AUTOMATIC = (None, "auto")
_PRECISIONS = {dtype: precision for precision, dtype in _HALVES.items()}


@dataclass(frozen=True)
class Lowering:
    """Options for writing a plan for an engine.

    Attributes:
        target: the engine, a key of `requant.runtime.TARGETS`.
        precision: floating-point type of the layers that are not quantized; "auto" and None are that of a file in half
            precision where the engine computes in it, and elsewhere the engine's own (`Target.body`).
        zero_points: let one-sided data have a finer grid, with a zero point of its own, where the engine takes any.
        keep_io: leave the graph's inputs and outputs as they are in half precision too.
        prices: what the engine's kernels take; None is what its row has.
    """

    target: str
    precision: Precision | None = None
    zero_points: bool = False
    keep_io: bool = True
    prices: Prices | None = None

    def __post_init__(self) -> None:
        """Raise RequantError for an engine or a precision that there is not, or prices that decide nothing."""
        row = find_target(self.target)
        if self.prices is not None and row.prices is None:
            raise RequantError(
                f"prices decide nothing for {self.target}: only targets that run in ONNX Runtime on a CPU"
            )
        if self.precision is not None:
            require_choice("precision", self.precision, get_args(Precision))

    @property
    def engine(self) -> Target:
        """The row of the target, with these prices."""
        row = find_target(self.target)
        return row if self.prices is None else replace(row, prices=self.prices)

    def resolved(self, plan: ir.Model) -> "Lowering":
        """Return the options for ``plan``, with the precision that its file and the engine ask for."""
        if self.precision not in _AUTOMATIC:
            return self
        types = file_types(plan.graph)
        dtype = types.dtype if types is not None and self.engine.half_precision else self.engine.body
        return replace(self, precision=_PRECISIONS.get(dtype, "float32"))

    @property
    def body(self) -> ir.DataType:
        """The type of the layers that are not quantized, once the precision is resolved."""
        return _HALVES.get(self.precision or "float32", ir.DataType.FLOAT)

    @property
    def may_be_half(self) -> bool:
        """True unless what is not quantized computes in float32, whatever the file."""
        is_automatic = self.precision in _AUTOMATIC
        return self.precision in _HALVES or (is_automatic and self.engine.body != ir.DataType.FLOAT)

    @property
    def in_float32(self) -> "Lowering":
        """Return the options for the same quantized values in float32, which any ONNX Runtime computes."""
        return replace(self, precision="float32", keep_io=True)

    @property
    def measurable(self) -> "Lowering":
        """Return the closest options that this machine's ONNX Runtime runs on its CPU, on data as they come.

        There is no bfloat16, and other engines round halves to integers as versions before `ROUNDS_HALVES` do not.
        """
        version = number(ONNXRUNTIME)
        alike = not self.engine.half_products or version is None or version >= parsed(ROUNDS_HALVES)
        half = self.precision == "float16" and alike
        return replace(self, precision="float16", keep_io=True) if half else self.in_float32

    def apply(self, plan: ir.Model, report: Report) -> ir.Model:
        """Write ``plan`` for the engine: a copy, with its origin in the metadata."""
        model, types, precision = plan.clone(), file_types(plan.graph), self.resolved(plan).precision
        for step in self._steps(precision, restores=types is not None):
            step(model)
        require_interface(plan, model, narrowed=types is not None or not self.keep_io)
        engine = self.engine
        lower_opset(model, engine.highest_opset, engine.highest_ir)
        model.metadata_props.update(
            {
                "requant.version": report.versions.get("requant", ""),
                "requant.recipe": report.recipe,
                TARGET: self.target,
            }
        )
        if precision not in (None, "float32"):
            model.metadata_props["requant.precision"] = precision
        if data := report.calibration:
            model.metadata_props["requant.calibration"] = f"{data['source']}, {data['samples']} samples"
        return model

    def _steps(self, precision: Precision | None, *, restores: bool) -> tuple[Callable[[ir.Model], object], ...]:
        insert = InsertQDQ(self.engine, self.zero_points, _HALVES.get(precision or "float32", ir.DataType.FLOAT))
        steps: list[Callable[[ir.Model], object]] = [insert]
        if precision in _HALVES:
            steps.append(ConvertPrecision(_HALVES[precision], self.keep_io, self.engine.half_products))
        elif restores:
            steps.append(RestoreTypes())
        return (*steps, PreventFusions()) if self.engine.takes_whole_graph else tuple(steps)


def runnable(artifact: ir.Model) -> ir.Model:
    """Copy an ``artifact`` for any engine, of the opset that this machine's ONNX Runtime reads on its CPU.

    Raises:
        TargetError: it has an operator that came, or changed in what it computes, later.
    """
    model, engine = artifact.clone(), find_target("cpu")
    lower_opset(model, engine.highest_opset, engine.highest_ir)
    return model
