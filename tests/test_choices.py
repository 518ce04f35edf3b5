"""Words that are no choice get one line that lists the choices, in the API as on the command line."""

from collections.abc import Callable

import onnx_ir as ir
import pytest

import requant
from requant.ir.formats import Format

BAD: dict[str, tuple[Callable[[], object], str]] = {
    "precision": (lambda: requant.optimize("m.onnx", precision="fp16"), "'fp16': choose one of auto, float32, float16"),  # type: ignore[arg-type]  # what a user may pass
    "target": (lambda: requant.optimize("m.onnx", target="tpu"), "'tpu': choose one of cpu"),
    "recipe": (lambda: requant.optimize("m.onnx", recipe="int9"), "'int9': choose one of int8"),
    "ranges": (lambda: requant.Recipe(ranges="max"), "'max': choose one of margin, minmax, percentile, mse"),
    "keep": (lambda: requant.optimize("m.onnx", keep=(3,)), "keep takes names"),  # type: ignore[arg-type]  # the same
    "formats": (lambda: requant.Recipe(formats=()), "has no formats: choose one or more of int8 by int8"),
    "int8 by int4": (
        lambda: requant.Recipe(formats=(Format(weights=ir.DataType.INT4, bits=4),)),
        "no engine supports int8 by int4: choose one of int8 by int8",
    ),
}


@pytest.mark.parametrize(("act", "message"), BAD.values(), ids=BAD.keys())
def test_what_is_no_choice_is_refused_before_any_work(act: Callable[[], object], message: str) -> None:
    with pytest.raises(requant.RequantError, match=message) as caught:
        act()
    assert "\n" not in str(caught.value)
