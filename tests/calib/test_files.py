"""Archives are validated before they are unpacked, and an `.npy` is data for a model of one input."""

import io
import zipfile
from pathlib import Path

import numpy as np
import pytest

from requant.calib.files import read_arrays
from requant.errors import DataError


def test_an_npy_is_the_only_input(tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", np.arange(6.0))
    np.testing.assert_array_equal(read_arrays(tmp_path / "x.npy", ["x"])["x"], np.arange(6.0))
    with pytest.raises(DataError, match=r"save an \.npz"):
        read_arrays(tmp_path / "x.npy", ["x", "y"])


def test_an_archive_that_unpacks_to_far_more_than_its_size_is_refused(tmp_path: Path) -> None:
    np.savez_compressed(tmp_path / "bomb.npz", x=np.zeros(2**26, np.float32), y=np.zeros(2**20, np.float32))
    with pytest.raises(DataError, match="would unpack to"):
        read_arrays(tmp_path / "bomb.npz", ["x"])


def test_an_array_that_declares_more_than_it_holds_is_refused(tmp_path: Path) -> None:
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(header, {"descr": "<f4", "fortran_order": False, "shape": (1 << 49,)})
    with zipfile.ZipFile(tmp_path / "lie.npz", "w") as archive:
        archive.writestr("x.npy", header.getvalue() + bytes(64))
    with pytest.raises(DataError, match="'x' declares"):
        read_arrays(tmp_path / "lie.npz", ["x"])
