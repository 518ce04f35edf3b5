"""A datasets.Dataset as it comes: any format, rows of different lengths, columns that are no inputs."""

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np
import onnx
import pytest

import requant
from requant.calib.sources import Data

if TYPE_CHECKING:
    import datasets
else:
    datasets = pytest.importorskip("datasets")

pytestmark = [pytest.mark.exporter, pytest.mark.filterwarnings("ignore")]  # its dependencies warn

ROWS = 24
MODEL = """(int64[batch, tokens] input_ids) => (float[batch, tokens, 64] y) <float[20, 64] table, float[64, 64] w> {
    x = Gather(table, input_ids)
    y = MatMul(x, w) }"""


@pytest.fixture(scope="module")
def table() -> datasets.Dataset:
    rng = np.random.default_rng(0)
    ids = [rng.integers(0, 20, rng.integers(2, 9)).tolist() for _ in range(ROWS)]
    return datasets.Dataset.from_dict({"text": ["a text"] * ROWS, "input_ids": ids, "label": [0] * ROWS})


VIEWS: dict[str, Callable[[datasets.Dataset], Data]] = {
    "Python's lists": lambda table: table,
    "numpy": lambda table: table.with_format("numpy"),
    "torch": lambda table: table.with_format("torch"),
    "transformed on the fly": lambda table: table.with_transform(
        lambda batch: {"input_ids": [np.asarray(row) for row in batch["input_ids"]]}
    ),
    "iterable": lambda table: table.to_iterable_dataset(),
}


@pytest.mark.parametrize("view", VIEWS.values(), ids=VIEWS.keys())
def test_every_format_calibrates(
    view: Callable[[datasets.Dataset], Data], table: datasets.Dataset, build: Callable[[str], onnx.ModelProto]
) -> None:
    result = requant.optimize(build(MODEL), view(table), target="tensorrt")
    assert result.report.calibration == {"source": "dataset", "samples": ROWS}
    assert result.report.outputs["y"].sqnr > 30


def test_a_column_of_another_name_and_a_dataset_with_splits_are_refused(
    table: datasets.Dataset, build: Callable[[str], onnx.ModelProto]
) -> None:
    with pytest.raises(requant.DataError, match=r"missing \['input_ids'\]; unknown \['ids', 'label', 'text'\]"):
        requant.optimize(build(MODEL), table.rename_column("input_ids", "ids"))
    with pytest.raises(requant.DataError, match=r"missing \['input_ids'\]; unknown \['train'\]"):
        requant.optimize(build(MODEL), datasets.DatasetDict({"train": table}))
