"""What users have becomes feeds that fit the model, or one line that says why not."""

from pathlib import Path

import numpy as np
import onnx_ir as ir
import pytest

from requant import DataError
from requant.calib.sources import batches

MODEL = ir.from_onnx_text(
    '<ir_version: 8, opset_import: ["": 17]> g (float[batch, 4] x, int64[batch] n) => (float[batch, 4] y) '
    "{ y = Identity(x) }"
)


def arrays(samples: int = 3, width: int = 4) -> dict[str, np.ndarray]:
    return {"x": np.arange(samples * width, dtype=np.float32).reshape(samples, width), "n": np.arange(samples)}


def test_an_npz_is_read_sample_by_sample(tmp_path: Path) -> None:
    np.savez(tmp_path / "data.npz", x=arrays(3)["x"], n=arrays(3)["n"])
    feeds = list(batches(tmp_path / "data.npz", MODEL))
    assert [feed["x"].shape for feed in feeds] == [(1, 4)] * 3
    np.testing.assert_array_equal(feeds[2]["x"], arrays(3)["x"][2:])


def test_a_folder_gives_a_batch_a_file_of_any_shape(tmp_path: Path) -> None:
    for samples in (1, 3, 2):
        np.savez(tmp_path / f"{samples}.npz", x=arrays(samples)["x"], n=arrays(samples)["n"])
    assert [len(feed["x"]) for feed in batches(tmp_path, MODEL)] == [1, 2, 3]


def test_iterables_and_callables_can_be_read_twice() -> None:
    for data in (iter([arrays(1), arrays(2)]), lambda: iter([arrays(1), arrays(2)])):
        source = batches(data, MODEL)
        assert [len(feed["x"]) for feed in source] == [1, 2] == [len(feed["x"]) for feed in source]


def test_synthetic_data_is_seeded_and_says_so() -> None:
    first, second, other = (batches(None, MODEL, samples=2, seed=seed) for seed in (0, 0, 1))
    assert "synthetic" in first.origin
    pairs = list(zip(first, second, other, strict=True))
    assert len(pairs) == 2
    for one, same, different in pairs:
        np.testing.assert_array_equal(one["x"], same["x"])
        assert not np.array_equal(one["x"], different["x"])


def test_float64_is_taken_as_float32_and_other_kinds_are_not() -> None:
    [feed] = batches([{**arrays(1), "x": arrays(1)["x"].astype(np.float64)}], MODEL)
    assert feed["x"].dtype == np.float32
    with pytest.raises(DataError, match=r"'n' is float32, the model takes int64"):
        list(batches([{**arrays(1), "n": np.zeros(1, np.float32)}], MODEL))


BAD = {
    "missing": ({"x": arrays()["x"]}, r"missing \['n'\]"),
    "unknown": ({**arrays(), "z": arrays()["n"]}, r"unknown \['z'\]"),
    "rank": ({**arrays(), "x": np.zeros((3, 4, 1), np.float32)}, "has 3 dimensions, the model takes 2"),
    "dimension": ({**arrays(), "x": np.zeros((3, 5), np.float32)}, "has 5 along axis 1, the model takes 4"),
    "nan": ({**arrays(), "x": np.full((3, 4), np.nan, np.float32)}, "'x' holds NaN"),
    "empty": ({"x": np.zeros((0, 4), np.float32), "n": np.zeros(0, np.int64)}, "'x' is empty"),
}


@pytest.mark.parametrize(("feed", "message"), BAD.values(), ids=BAD.keys())
def test_what_does_not_fit_is_named(feed: dict[str, np.ndarray], message: str) -> None:
    with pytest.raises(DataError, match=message):
        list(batches([feed], MODEL))


def test_files_that_are_no_data_are_refused(tmp_path: Path) -> None:
    (tmp_path / "bad.npz").write_bytes(b"PK\x03\x04 not an archive")
    np.savez(tmp_path / "uneven.npz", x=np.zeros((3, 4), np.float32), n=np.zeros(2, np.int64))
    np.savez(tmp_path / "none.npz", x=np.zeros((0, 4), np.float32), n=np.zeros(0, np.int64))
    (tmp_path / "folder").mkdir()
    expected = {
        "bad.npz": "not an .npz",
        "uneven.npz": "different numbers of samples",
        "none.npz": "holds no samples",
        "folder": "holds no .npz files",
        "absent.npz": "no such file",
    }
    for name, message in expected.items():
        with pytest.raises(DataError, match=message):
            list(batches(tmp_path / name, MODEL))


def test_pickles_are_never_loaded(tmp_path: Path) -> None:
    np.savez(tmp_path / "objects.npz", x=np.array([{"a": 1}], dtype=object))
    with pytest.raises(DataError, match="of plain arrays"):
        list(batches(tmp_path / "objects.npz", MODEL))


def test_no_feeds_at_all_are_refused() -> None:
    with pytest.raises(DataError, match="holds no samples"):
        batches([], MODEL)
    with pytest.raises(DataError, match="not int"):
        batches(3, MODEL)  # type: ignore[arg-type]  # what a user may pass
