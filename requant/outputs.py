"""Output paths: never a file that the run reads, and no place where two of its own files would meet."""

import os
from collections.abc import Iterable
from itertools import chain
from pathlib import Path

import onnx_ir as ir

from .calib.files import data_files
from .errors import OutputError
from .ir.destination import followed, require_writable
from .ir.load import Source
from .ir.save import data_beside
from .ir.validate import stored_tensors

PathLike = str | os.PathLike[str]


def require_outputs(output: PathLike | None, report: PathLike | None = None) -> None:
    """Raise OutputError, before any work, when a model or a report could not be written where it is wanted."""
    if output is not None:
        require_writable(Path(output))
    if report is not None:
        require_report(report)
    if output is not None and report is not None:
        output_files = [Path(output), data_beside(Path(output))]
        if any(_same(Path(report), path) for path in output_files):
            raise OutputError(f"{os.fspath(report)}: is the output; choose another report")


def require_report(path: PathLike) -> None:
    """Raise OutputError before any work if a report could not be written at ``path``."""
    if Path(path).suffix not in (".json", ".html"):
        raise OutputError(f"{os.fspath(path)}: a report ends in .json or .html")
    require_writable(Path(path))


def refuse_overwrite(inputs: Iterable[Path], *outputs: PathLike | None) -> None:
    """Raise OutputError when writing one of ``outputs``, or the weights beside it, would replace one of ``inputs``."""
    sources = list(inputs)
    for output in (Path(output) for output in outputs if output is not None):
        for path in (output, data_beside(output)):
            if any(_same(path, file) for file in sources):
                raise OutputError(f"{path}: is the input, or a file of it; choose another output")


def files(source: Source, model: ir.Model, *data: object) -> frozenset[Path]:
    """List the files that a run reads: those of ``model``, its weights among them, and those of ``data``."""
    model_files = [Path(source)] if isinstance(source, str | os.PathLike) else []
    weights = [Path(tensor.path) for tensor in stored_tensors(model) if isinstance(tensor, ir.ExternalTensor)]
    return frozenset(path.resolve() for path in [*model_files, *weights, *chain.from_iterable(map(data_files, data))])


def _same(one: Path, other: Path) -> bool:
    """Tell whether two paths lead to one file, which may not exist yet; hard links do."""
    try:
        return os.path.samefile(one, other)
    except OSError:
        return followed(one).resolve() == followed(other).resolve()
