"""The verb that mends: a copy of a quantized model that an engine runs as intended."""

import os

from .ir.load import Source, load
from .ir.save import save
from .outputs import files, refuse_overwrite, require_outputs
from .runtime.fix import Fixed
from .runtime.fix import fix as mend
from .runtime.targets import target as find_target


def fix(source: Source, target: str = "tensorrt", output: str | os.PathLike[str] | None = None) -> Fixed:
    """Mend what `requant.check` finds where that is safe; the source is never modified.

    Args:
        source: as `requant.check` takes it.
        target: the engine that will run it.
        output: where to write the new model, if anywhere.

    Returns:
        The new model, what was mended (and whether the numbers stay the same), what is left.

    Raises:
        SourceError: the model cannot be read.
        TargetError: the target is unknown.
        OutputError: nothing can be written at ``output``, or it is the source.
    """
    find_target(target)
    require_outputs(output)
    model = load(source)
    refuse_overwrite(files(source, model), output)
    result = mend(model, target)
    if output is not None:
        save(result.model, output)
    return result
