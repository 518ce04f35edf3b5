"""The fixing verb: a copy of a quantized model with all safe fixes applied."""

import os

from .ir.load import Source, load
from .ir.save import save
from .outputs import files, refuse_overwrite, require_outputs
from .runtime.fix import FixResult
from .runtime.fix import fix as apply_fixes
from .runtime.targets import target as find_target


def fix(source: Source, target: str = "tensorrt", output: str | os.PathLike[str] | None = None) -> FixResult:
    """Apply all safe fixes of what `requant.check` finds; the source is never modified.

    A fix is safe when it needs no calibration data and no decision.

    Args:
        source: as `requant.check` takes it.
        target: the engine that will run it.
        output: where to write the new model, if anywhere.

    Returns:
        The new model, the fixes that were applied (and whether the numbers stay the same), the findings that remain.

    Raises:
        SourceError: the model cannot be read.
        TargetError: the target is unknown.
        OutputError: nothing can be written at ``output``, or it is the source.
    """
    find_target(target)
    require_outputs(output)
    model = load(source)
    refuse_overwrite(files(source, model), output)
    result = apply_fixes(model, target)
    if output is not None:
        save(result.model, output)
    return result
