"""The result of `requant.optimize`: a model, the report on it, and the plan for other engines."""

import os
from collections.abc import Callable
from dataclasses import dataclass

import onnx_ir as ir

from .errors import RequantError
from .ir.save import save
from .limits import Limits, parsed_limits
from .lowering import Lowering, Precision, runnable
from .outputs import refuse_overwrite
from .report import Report
from .runtime.session import require_loadable

__all__ = ["Lowering", "Precision", "Result", "runnable"]


@dataclass
class Result:
    """A quantized model, the report on it, and the plan that other engines' artifacts come from."""

    model: ir.Model
    report: Report
    _planned: ir.Model
    _lowering: Lowering
    _replan: Callable[[Limits], "Result"]

    def replan(
        self,
        *,
        min_sqnr: float | None = None,
        max_drop: float | None = None,
        max_latency: float | str | None = None,
        max_bytes: float | str | None = None,
    ) -> "Result":
        """Return the result for other limits, which are as in `requant.optimize`.

        It is what a new call gives with these limits in place of those before, by what is measured already: nothing is
        calibrated, planned or probed again. Nothing is written.

        Raises:
            RequantError: there is no limit, or one of them is refused, or no plan is within the limits of the cost.
        """
        limits = parsed_limits(min_sqnr=min_sqnr, max_drop=max_drop, max_latency=max_latency, max_bytes=max_bytes)
        if not limits:
            raise RequantError("replan needs a limit: min_sqnr, max_drop, max_latency or max_bytes")
        return self._replan(limits)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the model; see `requant.ir.save`.

        Raises:
            OutputError: the path is one of the input's files, or cannot be written.
        """
        refuse_overwrite(self.report.inputs, path)
        save(self.model, path)

    def save_report(self, path: str | os.PathLike[str]) -> None:
        """Write the report; see `Report.save`."""
        self.report.save(path)

    def lower(
        self,
        target: str,
        *,
        precision: Precision | None = None,
        zero_points: bool | None = None,
        keep_io: bool | None = None,
    ) -> ir.Model:
        """Lower the same plan for another engine, without a second calibration.

        ``precision``, ``zero_points`` and ``keep_io`` are as in `requant.optimize`; None is what it was called with.
        Its prices hold for its own target alone.

        Raises:
            TargetError: the engine is unknown, or this machine's does not load the artifact.
            RequantError: the precision is unknown.
        """
        default = self._lowering
        lowering = Lowering(
            target,
            default.precision if precision is None else precision,
            default.zero_points if zero_points is None else zero_points,
            default.keep_io if keep_io is None else keep_io,
            default.prices if target == default.target else None,
        )
        model = lowering.apply(self._planned, self.report)
        require_loadable(model, target)
        return model
