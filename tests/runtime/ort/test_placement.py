"""A session that is not where it should be says so."""

import pytest

from requant.errors import TargetError
from requant.runtime import FallbackError, FallbackWarning, session
from requant.runtime.ort.providers import provider
from tests.runtime.ort.fake_onnxruntime import Nodes, install, plain

TRT, CUDA, CPU = (provider(name).name for name in ("tensorrt", "cuda", "cpu"))
ALL_ON_TRT: Nodes = {TRT: [("MatMul", "m")]}


def test_a_provider_that_did_not_load_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    install(monkeypatch, [TRT, CUDA, CPU], [CUDA, CPU], {CUDA: [("Relu", "")]})
    with pytest.raises(FallbackError, match=r"was not loaded.*pip install 'requant\[tensorrt\]'"):
        session(plain(), "tensorrt")


def test_a_provider_that_took_nothing_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    install(monkeypatch, [TRT, CUDA, CPU], [TRT, CUDA, CPU], {CUDA: [("Relu", "")], CPU: [("Shape", "")]})
    with pytest.raises(FallbackError, match=f"{TRT} took no node of the model: all run on {CPU}, {CUDA}"):
        session(plain(), "tensorrt")


def test_nodes_elsewhere_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    strays: list[tuple[str, str]] = [("QuantizeLinear", name) for name in ("a", "", "b", "c", "d")]
    install(
        monkeypatch,
        [TRT, CUDA],
        [TRT, CUDA, CPU],
        ALL_ON_TRT | {CUDA: [*strays, ("Where", "")], CPU: [("Softmax", "s")]},
    )
    with pytest.warns(FallbackWarning) as caught:
        session(plain(), "tensorrt")
    assert str(caught[0].message) == (
        f"not on {TRT}: {CPU} has 1 Softmax (s); {CUDA} has 5 QuantizeLinear (a, b, c, ...), 1 Where"
    )
    assert caught[0].filename == __file__


def test_what_computes_shapes_may_be_on_the_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    install(monkeypatch, [CUDA], [CUDA, CPU], {CUDA: [("Relu", "")], CPU: [("Shape", ""), ("Gather", ""), ("Mul", "")]})
    session(plain(), "cuda")


def test_an_onnxruntime_that_cannot_tell_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    install(monkeypatch, [CUDA], [CUDA, CPU], {}, old=True)
    with pytest.raises(TargetError, match=r"onnxruntime 1\.24 or newer"):
        session(plain(), "cuda")
