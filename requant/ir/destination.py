"""The destination of a file, which is written whole or not at all.

A file is written in a folder of its own beside its destination and renamed at the end. A symbolic link is followed:
the file that it points to is replaced, and the link stays.
"""

import os
import re
import stat
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from ..errors import OutputError

_PREFIX = ".requant."
_TEMPORARY = re.compile(r"\.requant\.[a-z0-9_]{8}")
"""The names that `tempfile` derives from the prefix."""

_DAY = 24 * 60 * 60

_KINDS: dict[Callable[[int], bool], str] = {
    stat.S_ISDIR: "a folder",
    stat.S_ISFIFO: "a pipe",
    stat.S_ISSOCK: "a socket",
    stat.S_ISCHR: "a device",
    stat.S_ISBLK: "a device",
}


def irregular(path: str | os.PathLike[str]) -> str | None:
    """Name what exists at ``path`` if it is not a regular file; None if it is one, or does not exist."""
    try:
        mode = os.stat(path).st_mode
    except (OSError, ValueError):
        return None
    if stat.S_ISREG(mode):
        return None
    return next((name for test, name in _KINDS.items() if test(mode)), "not a regular file")


def require_writable(destination: Path) -> None:
    """Raise OutputError when no file can be made or replaced at ``destination``, before any work is done for it."""
    if str(destination) == "-":
        raise OutputError("-: models and reports are not written to stdout; name a file")
    if "\0" in str(destination):
        raise OutputError(f"{str(destination)!r}: not a valid path")
    if kind := irregular(destination):
        raise OutputError(f"{destination}: is {kind}")
    with _named(destination), suppress(FileNotFoundError, NotADirectoryError):
        os.stat(destination)  # a name that is too long, a link that leads to itself
    target = followed(destination)
    if not os.path.isdir(target.parent):  # Path.is_dir() raises on a name that is too long
        raise OutputError(f"{destination}: the folder {target.parent} does not exist")
    if not os.access(target.parent, os.W_OK):
        raise OutputError(f"{destination}: the folder {target.parent} is not writable")
    if os.path.exists(target) and not os.access(target, os.W_OK):
        raise OutputError(f"{destination}: is write-protected")


def followed(path: Path) -> Path:
    """Return ``path``, or the target of a symbolic link there."""
    return Path(os.path.realpath(path)) if os.path.islink(path) else path


@contextmanager
def appearing(destination: Path) -> Iterator[Path]:
    """Give a path to write to, in an empty folder, whose files appear beside ``destination`` at the end.

    Raises:
        OutputError: the files cannot be written, for example because the disk is full; nothing has changed then.
    """
    require_writable(destination)
    target = followed(destination)
    _sweep(target.parent)
    with _named(destination), tempfile.TemporaryDirectory(dir=target.parent, prefix=_PREFIX) as folder:
        yield Path(folder) / target.name
        _move(Path(folder), target.parent)


@contextmanager
def _named(destination: Path) -> Iterator[None]:
    """Raise errors of the system as OutputError."""
    try:
        yield
    except OSError as error:
        raise OutputError(f"{destination}: cannot be written ({error.strerror or error})") from error


def _move(source: Path, target: Path) -> None:
    """Move all files of ``source`` into ``target``; when one cannot be moved, all files of ``target`` are as before."""
    names = sorted((file.name for file in source.iterdir()), reverse=True)  # the data before the graph that needs it
    replaced = [name for name in names[:-1] if (target / name).exists()]
    backup = Path(tempfile.mkdtemp(dir=source)) if replaced else source
    try:
        for name in replaced:
            os.replace(target / name, backup / name)
        for name in names:
            os.replace(source / name, target / name)
    except OSError:
        for name in names[:-1]:
            if not (source / name).exists():
                (target / name).unlink()
        for name in replaced:
            if (backup / name).exists():
                os.replace(backup / name, target / name)
        raise


def _sweep(folder: Path) -> None:
    """Remove the temporary folders in ``folder`` of runs that were killed more than a day ago."""
    with suppress(OSError):  # it is there for tidiness: what cannot be removed does not stop a run
        for entry in list(os.scandir(folder)):
            if _TEMPORARY.fullmatch(entry.name) and _is_old_folder(entry):
                files = [file for file in os.scandir(entry) if file.is_file(follow_symlinks=False)]
                for file in files:
                    os.unlink(file)
                os.rmdir(entry)


def _is_old_folder(entry: "os.DirEntry[str]") -> bool:
    return entry.is_dir(follow_symlinks=False) and entry.stat(follow_symlinks=False).st_mtime < time.time() - _DAY
