"""The benchmark for GPUs: on a GPU that no engine falls back, and elsewhere that it would say so."""

from pathlib import Path

import onnx_ir as ir
import onnxruntime as ort
import pytest

from benchmarks import gpu
from benchmarks.on_gpu import Bound, Live
from benchmarks.variants import Variant, lowered
from models import synthetic
from models.subject import Array, Feed
from requant.errors import TargetError
from requant.runtime import FallbackError, FallbackWarning
from requant.runtime.gpu import gpu_name

has_cuda = "CUDAExecutionProvider" in ort.get_available_providers() and gpu_name()

SMALL = {"small": lambda: synthetic.pre_norm(synthetic.Transformer(layers=1, tokens=16, batch=2))}


@pytest.mark.gpu
@pytest.mark.skipif(not has_cuda, reason="needs onnxruntime-gpu and a CUDA device")
def test_no_engine_falls_back(tmp_path: Path) -> None:
    rows = list(gpu.rows(SMALL, gpu.ENGINES, tmp_path))
    assert not [row.note for row in rows if row.fell_back]
    ran = {(row.variant, row.engine): row for row in rows if not row.note}
    assert ran["float32", "ONNX Runtime, CUDA"].sqnr > 50
    assert all(row.sqnr > 15 for row in ran.values())


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Few runs, and no variant that takes long to make."""
    monkeypatch.setattr(gpu, "RUNS", 2)
    monkeypatch.setattr(gpu, "WARMUP", 1)
    monkeypatch.setattr(gpu, "VARIANTS", [Variant("float32", precision="float32")])


def on_cpu(model: ir.Model, feed: Feed, folder: Path) -> Live:
    """Run on the CPU what a GPU would run."""
    return Bound(model, feed, "cpu", folder, device="cpu")


def raising(error: Exception) -> gpu.Runs:
    """Return an engine that cannot be opened."""

    def fail(model: ir.Model, feed: Feed, folder: Path) -> Live:
        raise error

    return gpu.Runs("cpu", (), fail)


@pytest.mark.usefixtures("quick")
def test_an_engine_is_timed_and_compared(tmp_path: Path) -> None:
    [row] = gpu.rows(SMALL, {"here": gpu.Runs("cpu", (), on_cpu)}, tmp_path)
    assert 0 < row.minimum <= row.median
    assert row.sqnr > 100
    assert gpu.numbers(row, {("small", "here"): 2 * row.minimum})[2] == "2.00×"


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize(
    ("error", "code"),
    [(FallbackError("not loaded"), 1), (FallbackWarning("1 Softmax"), 1), (TargetError("no kernel"), 0)],
)
def test_a_fallback_fails_and_says_so(
    error: Exception, code: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(gpu, "gpu_name", lambda: "a GPU")
    monkeypatch.setattr(gpu, "SUBJECTS", SMALL)
    monkeypatch.setattr(gpu, "ENGINES", {"broken": raising(error), "here": gpu.Runs("cpu", (), on_cpu)})
    assert gpu.main() == code
    printed = capsys.readouterr().out
    assert str(error) in printed
    assert ("FELL BACK" in printed) == bool(code)
    assert "1.00×" in printed


@pytest.mark.parametrize(
    ("name", "subjects", "line"),
    [
        ("", (), "benchmarks.gpu: there is no CUDA device here, so that nothing was run\n"),
        ("a GPU", ("vit",), "benchmarks.gpu: no subject is called 'vit': choose of vit-b, llama, resnet50\n"),
    ],
)
def test_what_cannot_be_run_is_one_line(
    name: str,
    subjects: tuple[str, ...],
    line: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(gpu, "gpu_name", lambda: name)
    assert gpu.main(subjects) == 1
    assert capsys.readouterr().err == line


@pytest.mark.usefixtures("quick")
def test_what_is_not_installed_is_said_once(tmp_path: Path) -> None:
    engines = {"nowhere": gpu.Runs("cpu", ("package_that_is_not_there",), on_cpu)}
    assert [row.note for row in gpu.rows({}, engines, tmp_path)] == ["package_that_is_not_there is not installed"]


def test_what_an_engine_has_no_kernel_for_has_a_reason() -> None:
    source = SMALL["small"]()
    feeds = [dict[str, Array](feed) for feed in synthetic.feeds(source, 2)]
    assert "no integer product on CUDA" in str(lowered(source, feeds, Variant("int8", "int8"), "cuda"))


def test_float16_is_float16_or_not_timed() -> None:
    source = SMALL["small"]()
    artifact = lowered(source, [], Variant("float16"), "cuda")
    assert isinstance(artifact, ir.Model) or artifact == "nothing in the artifact is float16"
