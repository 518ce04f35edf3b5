"""Calibration data in files: `.npz`, `.npy`, or a folder of them, from untrusted sources."""

import os
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

from ..errors import DataError
from ..ir.destination import irregular

SUFFIXES = (".npz", ".npy")

MOST_UNPACKED = 256 * 2**20
"""Bytes that an archive may unpack to, however small it is."""

LARGEST_RATIO = 200
"""Limit of the ratio at which an archive may unpack beyond that; deflate reaches a thousand with zeros."""

_READERS = {(1, 0): npy.read_array_header_1_0, (2, 0): npy.read_array_header_2_0}


def data_files(data: object) -> tuple[Path, ...]:
    """List the files that ``data`` is read from, where it is a path; none otherwise."""
    if not isinstance(data, str | os.PathLike):
        return ()
    path = Path(os.fspath(data))
    if not os.path.isdir(path):  # Path.is_dir() raises on a name that is too long
        return (path,)
    return tuple(sorted(file for file in path.iterdir() if file.suffix in SUFFIXES))


def require_data(data: object) -> None:
    """Raise DataError when ``data`` is a path without data."""
    if not isinstance(data, str | os.PathLike):
        return
    if not os.fspath(data):
        raise DataError("the path of the calibration data is empty")
    path = Path(os.fspath(data))
    if os.path.isdir(path):
        if not data_files(path):
            raise DataError(f"{path}: holds no .npz files")
        return
    if "\0" in str(path) or not os.path.exists(path):
        raise DataError(f"{path}: no such file or folder")
    if kind := irregular(path):
        raise DataError(f"{path}: is {kind}, not an .npz or .npy file")


def read_arrays(path: Path, inputs: list[str]) -> dict[str, NDArray[np.generic]]:
    """Read the arrays in ``path`` by name; that of an `.npy` file has the name of the model's only input.

    Raises:
        DataError: it is not such a file, declares more than it holds, or unpacks to far more than its size.
    """
    require_data(path)
    try:
        with path.open("rb") as file:
            if file.read(len(npy.MAGIC_PREFIX)) == npy.MAGIC_PREFIX:
                return {_only(inputs, path): np.asarray(np.load(path, mmap_mode="r", allow_pickle=False))}
        with zipfile.ZipFile(path) as archive:
            _require_size(archive, path)
            return dict(_arrays(archive, path))
    except DataError:
        raise
    except Exception as error:  # damaged zip and npy files raise errors of many types
        raise DataError(f"{path}: not an .npz or .npy of plain arrays") from error


def _only(inputs: list[str], path: Path) -> str:
    if len(inputs) != 1:
        raise DataError(f"{path}: an .npy holds one array, but the model's inputs are {inputs}; save an .npz")
    return inputs[0]


def _require_size(archive: zipfile.ZipFile, path: Path) -> None:
    """Refuse an archive that would fill the memory, before anything is unpacked."""
    unpacked, packed = sum(member.file_size for member in archive.infolist()), path.stat().st_size
    if unpacked > max(MOST_UNPACKED, LARGEST_RATIO * packed):
        raise DataError(
            f"{path}: {packed} bytes would unpack to {unpacked}, more than {LARGEST_RATIO} times as many; "
            "save it with numpy.savez if that is intended"
        )


def _arrays(archive: zipfile.ZipFile, path: Path) -> Iterator[tuple[str, NDArray[np.generic]]]:
    for member in archive.infolist():
        name = member.filename.removesuffix(".npy")
        with archive.open(member) as file:
            declared = _declared_size(file)
        if declared != member.file_size:
            raise DataError(f"{path}: {name!r} declares {declared} bytes but holds {member.file_size}")
        with archive.open(member) as file:
            yield name, npy.read_array(file, allow_pickle=False)


def _declared_size(file: IO[bytes]) -> int:
    """Return the size of an `.npy` file by its own header."""
    version = npy.read_magic(file)
    shape, _, dtype = _READERS[version](file)
    if dtype.hasobject or any(size < 0 for size in shape):
        raise ValueError("not a plain array")
    declared = dtype.itemsize
    for size in shape:
        declared *= size  # Python's integers do not overflow
    return file.tell() + declared
