"""`requant.measure_prices`: what kernels take on this machine, as a table that `requant.optimize` plans by."""

import os
from pathlib import Path

from ..ir.destination import require_writable
from ..runtime.prices import Prices
from ..runtime.prices_file import save_prices
from ..runtime.targets import processor_name, target
from ..runtime.targets.common import ONNXRUNTIME
from ..runtime.versions import installed
from .measure import measure


def measure_prices(output: str | os.PathLike[str] | None = None) -> Prices:
    """Measure what the kernels of ONNX Runtime's CPU provider take on this machine, for `optimize` and target "cpu".

    Takes one thread and about a minute. Times are the least of many, so that other processes matter little.

    Args:
        output: where to write the table, if anywhere: a file that `optimize` takes as ``prices``.

    Returns:
        The table, in nanoseconds.

    Raises:
        OutputError: nothing can be written at ``output``.
    """
    if output is not None:
        require_writable(Path(output))
    prices = measure(target("cpu"), f"{processor_name()}, onnxruntime {installed(ONNXRUNTIME)}")
    if output is not None:
        save_prices(prices, output)
    return prices
