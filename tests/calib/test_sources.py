"""Sources of data become feeds that fit the model, or one line with the reason why not."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
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
    with pytest.raises(DataError, match=r"'n' is float32, but the model takes int64"):
        list(batches([{**arrays(1), "n": np.zeros(1, np.float32)}], MODEL))


BAD = {
    "missing": ({"x": arrays()["x"]}, r"missing \['n'\]"),
    "renamed": ({"z": arrays()["x"], "n": arrays()["n"]}, r"missing \['x'\]; unknown \['z'\]"),
    "ragged": ({**arrays(), "x": [[1.0], [1.0, 2.0]]}, "'x' is a list, which is not an array"),
    "object": ({**arrays(), "x": object()}, "'x' is object, but the model takes float32"),
    "half of a tuple": ((arrays()["x"],), r"missing \['n'\]"),
    "text": ("hello", r"missing \['n'\]"),
    "rank": ({**arrays(), "x": np.zeros((3, 4, 1), np.float32)}, "has 3 dimensions, but the model takes 2"),
    "dimension": ({**arrays(), "x": np.zeros((3, 5), np.float32)}, "has size 5 along axis 1, but the model takes 4"),
    "nan": ({**arrays(), "x": np.full((3, 4), np.nan, np.float32)}, "'x' holds NaN"),
    "empty": ({"x": np.zeros((0, 4), np.float32), "n": np.zeros(0, np.int64)}, "holds no samples"),
}


@pytest.mark.parametrize(("feed", "message"), BAD.values(), ids=BAD.keys())
def test_data_that_do_not_fit_are_named(feed: dict[str, np.ndarray], message: str) -> None:
    for data in ([feed], lambda: [feed]):
        with pytest.raises(DataError, match=message):
            list(batches(data, MODEL))


class Tensor:
    """A stand-in for a torch tensor on a GPU, which becomes an array only when forced."""

    def __init__(self, data: np.ndarray) -> None:
        self.data = data

    def detach(self) -> "Tensor":
        return self

    def numpy(self, *, force: bool = False) -> np.ndarray:
        if not force:
            raise TypeError("can't convert cuda tensor to numpy")
        return self.data

    def __array__(self, dtype: object = None, copy: object = None) -> np.ndarray:
        return self.numpy()


@dataclass(frozen=True)
class Table:
    """A stand-in for a datasets.Dataset in Python's format: lists, and one column that is no input."""

    rows: int

    def iter(self, batch_size: int, drop_last_batch: bool = False) -> Iterator[dict[str, object]]:
        columns = arrays(self.rows)
        for start in range(0, self.rows, batch_size):
            batch = {name: array[start : start + batch_size].tolist() for name, array in columns.items()}
            if len(batch["n"]) == batch_size or not drop_last_batch:
                yield batch | {"text": ["label"] * batch_size}


BATCHES = {
    "feeds with labels": [{**arrays(2), "labels": np.zeros(2)}, {**arrays(1), "labels": np.zeros(1)}],
    "tuples in the order of the inputs": [(arrays(2)["x"], arrays(2)["n"]), (arrays(1)["x"], arrays(1)["n"])],
    "lists with labels": [[*arrays(2).values(), np.zeros(2)], [*arrays(1).values(), "label"]],
    "tensors": [{name: Tensor(array) for name, array in arrays(count).items()} for count in (2, 1)],
    "tuples of lists of tensors": [([Tensor(row) for row in arrays(k)["x"]], Tensor(arrays(k)["n"])) for k in (2, 1)],
    "lists": [{name: array.tolist() for name, array in arrays(count).items()} for count in (2, 1)],
}


@pytest.mark.parametrize("data", BATCHES.values(), ids=BATCHES.keys())
def test_batches_of_loaders_become_feeds(data: Sequence[object]) -> None:
    feeds = list(batches(iter(data), MODEL))
    assert [feed.keys() for feed in feeds] == [{"x", "n"}] * 2
    for feed, count in zip(feeds, (2, 1), strict=True):
        for name, expected in arrays(count).items():
            np.testing.assert_array_equal(feed[name], expected)
            assert feed[name].dtype == expected.dtype


def test_a_batch_that_is_no_tuple_is_the_only_input() -> None:
    one = ir.from_onnx_text(
        '<ir_version: 8, opset_import: ["": 17]> g (float[batch, 4] x) => (float[batch, 4] y) { y = Identity(x) }'
    )
    array = arrays(2)["x"]
    for sample in (array, Tensor(array), (array,), [Tensor(array), Tensor(np.zeros(2))], {"x": array, "y": 3}):
        [feed] = batches([sample], one)
        assert feed.keys() == {"x"}
        np.testing.assert_array_equal(feed["x"], array)


def test_columns_in_memory_are_read_sample_by_sample() -> None:
    source = batches(arrays(3) | {"labels": np.zeros(5)}, MODEL)
    assert [feed["x"].shape for feed in source] == [(1, 4)] * 3 == [feed["x"].shape for feed in source]
    with pytest.raises(DataError, match=r"missing \['n', 'x'\]; unknown \['train'\]"):
        list(batches({"train": arrays(3)["x"]}, MODEL))


def test_a_table_is_read_as_often_as_asked_in_batches_that_the_model_takes() -> None:
    source = batches(Table(3), MODEL)
    assert [feed["x"].shape for feed in source] == [(1, 4)] * 3 == [feed["x"].shape for feed in source]
    assert not isinstance(source.feeds, tuple)
    pairs = ir.from_onnx_text(
        '<ir_version: 8, opset_import: ["": 17]> g (float[2, 4] x) => (float[2, 4] y) { y = Identity(x) }'
    )
    assert [feed["x"].shape for feed in batches(Table(5), pairs)] == [(2, 4)] * 2
    with pytest.raises(DataError, match="holds no samples"):
        list(batches(Table(1), pairs))


def test_an_array_in_a_file_that_is_no_input_is_an_error(tmp_path: Path) -> None:
    np.savez(tmp_path / "data.npz", x=arrays()["x"], n=arrays()["n"], labels=np.zeros(3))
    with pytest.raises(DataError, match=r"unknown \['labels'\]"):
        list(batches(tmp_path / "data.npz", MODEL))


def test_the_origin_of_a_file_is_its_name_wherever_it_lies(tmp_path: Path) -> None:
    assert batches(tmp_path / "data.npz", MODEL).origin == "data.npz"


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
    with pytest.raises(DataError, match="must return an iterable of batches, not int"):
        list(batches(lambda: 3, MODEL))  # type: ignore[arg-type]  # the same
