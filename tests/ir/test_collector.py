"""The garbage collector rests while a graph is built, and only then."""

import gc

import onnx
import pytest

from requant.errors import SourceError
from requant.ir.collector import paused_collector
from requant.ir.load import load


@pytest.mark.parametrize("is_enabled", [True, False])
def test_it_is_paused_and_as_it_was_afterwards(is_enabled: bool) -> None:
    before = gc.isenabled()
    (gc.enable if is_enabled else gc.disable)()
    try:
        with paused_collector():
            assert not gc.isenabled()
        assert gc.isenabled() is is_enabled
    finally:
        (gc.enable if before else gc.disable)()


def test_an_error_ends_the_pause() -> None:
    with pytest.raises(SourceError):
        load(onnx.ModelProto())
    assert gc.isenabled()
