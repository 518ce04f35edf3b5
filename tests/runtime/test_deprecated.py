"""Old names still work for one version, with a warning."""

import importlib
import sys

import pytest

import requant
from requant import runtime
from requant.ir import formats
from tests.runtime.check_graphs import INT8, M, W, graph, qdq

MODEL = INT8 + W + M + qdq("i0", "m", "md") + "y = Relu (md)"


def test_mend_is_fix() -> None:
    (finding,) = requant.check(graph(MODEL), "tensorrt")
    with pytest.warns(DeprecationWarning, match=r"Finding\.fix"):
        assert finding.mend == finding.fix == finding.to_dict()["mend"]


def test_the_result_of_fix_has_its_old_fields() -> None:
    result = requant.fix(graph(MODEL), "tensorrt")
    with pytest.warns(DeprecationWarning, match=r"FixResult\.fixes"):
        assert result.mended == result.fixes
    with pytest.warns(DeprecationWarning, match=r"FixResult\.findings"):
        assert result.left == result.findings
    with pytest.warns(DeprecationWarning, match=r"AppliedFix\.action"):
        assert result.fixes[0].done == result.fixes[0].action


@pytest.mark.parametrize(("old", "new"), [("Fixed", "FixResult"), ("Mended", "AppliedFix")])
def test_classes_have_their_old_names(old: str, new: str) -> None:
    with pytest.warns(DeprecationWarning, match=new):
        assert getattr(runtime, old) is getattr(runtime, new)
    with pytest.raises(AttributeError, match="Nothing"):
        runtime.Nothing  # noqa: B018


def test_formats_have_their_old_place() -> None:
    sys.modules.pop("requant.runtime.formats", None)
    with pytest.warns(DeprecationWarning, match=r"requant\.ir\.formats"):
        old = importlib.import_module("requant.runtime.formats")
    assert old.int4_weight is formats.int4_weight
    assert old.Format is formats.Format
