"""Labels: read from files and arrays, and given to the samples that they belong to."""

from pathlib import Path

import numpy as np
import pytest

from requant.calib.labels import read_labels, with_labels
from requant.calib.sources import Batches
from requant.errors import DataError


@pytest.mark.parametrize(
    ("text", "labels"),
    [("3\n1\n2\n", [3, 1, 2]), ("0.5\n1\n", [0.5, 1.0]), ("cat\nred dog\n", ["cat", "red dog"]), ("1", [1])],
)
def test_text_has_a_label_a_line(tmp_path: Path, text: str, labels: list[object]) -> None:
    path = tmp_path / "labels.txt"
    path.write_text(text)
    read = read_labels(path)
    assert read is not None
    assert read.tolist() == labels


def test_arrays_come_from_files_and_callers(tmp_path: Path) -> None:
    labels = np.arange(6).reshape(3, 2)
    np.save(tmp_path / "a.npy", labels)
    np.savez(tmp_path / "one.npz", anything=labels)
    np.savez(tmp_path / "two.npz", other=labels + 1, labels=labels)
    for given in (labels, labels.tolist(), tmp_path / "a.npy", str(tmp_path / "one.npz"), tmp_path / "two.npz"):
        np.testing.assert_array_equal(read_labels(given), labels)
    assert read_labels(None) is None


def test_what_holds_no_labels_is_refused(tmp_path: Path) -> None:
    np.savez(tmp_path / "none.npz", a=np.zeros(2), b=np.zeros(2))
    (tmp_path / "bytes.txt").write_bytes(b"\xff\xfe\xfa")
    (tmp_path / "broken.npy").write_bytes(b"\x93NUMPY")
    for given, message in (
        (tmp_path / "none.npz", "holds ['a', 'b'], and none of these is called 'labels'"),
        (tmp_path / "bytes.txt", "not a text file of labels"),
        (tmp_path / "broken.npy", "not an .npz or .npy of plain arrays"),
        (tmp_path / "missing.txt", "no such file or folder"),
        (tmp_path, "is a folder, not a file of labels"),
        (3, "labels are an array with one entry for each sample"),
        ([{"a": 1}], "labels are an array with one entry for each sample"),
    ):
        with pytest.raises(DataError) as error:
            read_labels(given)
        assert message in str(error.value)


def test_labels_go_by_the_number_of_samples() -> None:
    data = Batches(tuple({"x": np.full((size, 1), size)} for size in (2, 3, 2)), "here")

    def pairs(count: int) -> list[list[int]]:
        return [part.tolist() for _, part in with_labels(data, np.arange(count), lambda feed: len(feed["x"]))]

    assert pairs(7) == [[0, 1], [2, 3, 4], [5, 6]]
    assert pairs(8) == pairs(7), "samples that do not fill a last batch are left out"
    for count in (6, 9):
        with pytest.raises(DataError, match=f"there are {count} labels for 7 calibration samples"):
            pairs(count)
