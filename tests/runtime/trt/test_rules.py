"""The checker says "refused" of the rules' graphs that the real builder of TensorRT-RTX refuses, and of no other."""

import importlib.util
from pathlib import Path

import pytest

from requant.errors import TargetError
from requant.runtime import build_engine
from requant.runtime.check import check
from tests.runtime.check_blocks import FINE_BLOCKS, OTHER_BLOCKS, TENSORRT_BLOCKS, TENSORRT_RTX
from tests.runtime.check_graphs import FINE, OTHER_WAYS, TENSORRT, Options, graph

ROWS = 4
"""The size of dynamic axes."""

PAIRS = TENSORRT | TENSORRT_BLOCKS | TENSORRT_RTX
GRAPHS: dict[str, tuple[str, Options]] = {f"bad {rule}": (bad, options) for rule, (bad, _, options) in PAIRS.items()}
GRAPHS |= {f"good {rule}": (good, options) for rule, (_, good, options) in PAIRS.items()}
GRAPHS |= {
    f"{rule}, {index}": (body, options)
    for index, (target, rule, body, options) in enumerate(OTHER_WAYS + OTHER_BLOCKS)
    if target == "tensorrt"
}
GRAPHS |= {
    f"fine, {index}": (body, options)
    for index, (target, body, options) in enumerate(FINE + FINE_BLOCKS)
    if target == "tensorrt"
}


@pytest.mark.skipif(importlib.util.find_spec("tensorrt_rtx") is None, reason="needs tensorrt_rtx")
@pytest.mark.parametrize(("body", "options"), GRAPHS.values(), ids=GRAPHS)
def test_the_builder_refuses_what_the_checker_says(body: str, options: Options, tmp_path: Path) -> None:
    model = graph(body, **options)
    shapes = {
        value.name or "": (tuple(size if isinstance(size, int) else ROWS for size in value.shape),) * 3
        for value in model.graph.inputs
        if value.shape is not None
    }
    refusals = [one for one in check(model, "tensorrt-rtx") if one.consequence.startswith("refused")]
    failure = ""
    try:
        build_engine(model, tmp_path, profiles=shapes, target="tensorrt-rtx", capability="8.9")
    except TargetError as error:
        failure = str(error)
    assert bool(failure) == bool(refusals), failure
