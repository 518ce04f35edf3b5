"""The real subjects' machinery, without a download: fetching, crops, pages and the encoder's builder."""

import hashlib
import zipfile
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from numpy.typing import NDArray
from PIL import Image, ImageFont

from models import bert, fetch, minilm, orientation, pages, photographs


@pytest.fixture
def tiny_wheel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A wheel that holds tiny/data.txt, in the only place where pip looks; an empty cache."""
    links = tmp_path / "links"
    links.mkdir()
    path = links / "tiny-1.0-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as wheel:
        wheel.writestr("tiny/data.txt", "content")
        wheel.writestr("tiny-1.0.dist-info/METADATA", "Metadata-Version: 2.1\nName: tiny\nVersion: 1.0\n")
        wheel.writestr("tiny-1.0.dist-info/WHEEL", "Wheel-Version: 1.0\nTag: py3-none-any\n")
        wheel.writestr("tiny-1.0.dist-info/RECORD", "")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(links))
    monkeypatch.setenv("REQUANT_CACHE", str(tmp_path / "cache"))
    return path


def pin(monkeypatch: pytest.MonkeyPatch, version: str, sha256: str) -> None:
    monkeypatch.setitem(fetch.WHEELS, "tiny", fetch.Wheel("tiny", version, sha256))


def test_member_is_fetched_once_and_kept(tiny_wheel: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pin(monkeypatch, "1.0", hashlib.sha256(tiny_wheel.read_bytes()).hexdigest())
    path = fetch.member("tiny", "tiny/data.txt")
    assert path.read_text() == "content"
    tiny_wheel.unlink()
    assert fetch.member("tiny", "tiny/data.txt") == path
    with pytest.raises(fetch.FetchError, match="no file tiny/other"):
        fetch.member("tiny", "tiny/other.txt")
    kept = {file.name for file in fetch.cache_folder().rglob("*") if file.is_file()}
    assert kept == {"wheel.zip", "data.txt"}


@pytest.mark.parametrize(("version", "message"), [("1.0", "SHA-256"), ("2.0", "could not download tiny==2.0")])
def test_another_wheel_than_the_pinned_is_refused(
    tiny_wheel: Path, monkeypatch: pytest.MonkeyPatch, version: str, message: str
) -> None:
    pin(monkeypatch, version, "0" * 64)
    with pytest.raises(fetch.FetchError, match=message):
        fetch.member("tiny", "tiny/data.txt")
    assert not [file for file in fetch.cache_folder().rglob("*") if file.is_file()]


def test_a_damaged_wheel_in_the_cache_is_refused(tiny_wheel: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pin(monkeypatch, "1.0", "0" * 64)
    folder = fetch.cache_folder() / "tiny-1.0"
    folder.mkdir(parents=True)
    tiny_wheel.rename(folder / "wheel.zip")
    with pytest.raises(fetch.FetchError, match="SHA-256"):
        fetch.member("tiny", "tiny/data.txt")


def test_no_photograph_is_in_both_sets() -> None:
    assert not set(photographs.CALIBRATION) & set(photographs.EVALUATION)


def test_crops_are_deterministic_and_normalized(monkeypatch: pytest.MonkeyPatch) -> None:
    colour = (250, 128, 0)
    monkeypatch.setattr(photographs, "photograph", lambda wheel, path: Image.new("RGB", (300, 260), colour))
    crops = photographs.crops((("any", "one"),), count=3, seed=0)
    expected = (np.array(colour) / 255 - photographs.IMAGENET_MEAN) / photographs.IMAGENET_STD
    for sample in crops:
        assert sample.shape == (1, 3, 224, 224)
        assert sample.dtype == np.float32
        np.testing.assert_allclose(sample.mean((0, 2, 3)), expected, atol=1e-4)


def test_normalized_keeps_rows_and_columns() -> None:
    image = np.random.default_rng(0).integers(0, 256, (2, 4, 3), np.uint8)
    expected = (image[1, 3, 2] / 255 - 0.406) / 0.225
    assert photographs.normalized(image)[0, 2, 1, 3] == pytest.approx(expected, rel=1e-5)


def test_crops_follow_the_seed() -> None:
    noise = np.random.default_rng(0).integers(0, 256, (260, 300, 3), np.uint8)
    first, again, other = (
        np.asarray(photographs.crop(Image.fromarray(noise), np.random.default_rng(seed))) for seed in (1, 1, 2)
    )
    np.testing.assert_array_equal(first, again)
    assert (first != other).any()


def builtin_typeface() -> ImageFont.FreeTypeFont:
    typeface = ImageFont.load_default(10)
    assert isinstance(typeface, ImageFont.FreeTypeFont)
    return typeface


def render(seed: int, count: int = 4) -> list[NDArray[np.uint8]]:
    return pages.pages(count, ["orientation"] * pages.WORDS_A_PAGE, [builtin_typeface()], seed)


def test_pages_follow_the_seed() -> None:
    assert len(render(1)) == 4
    for first, again, other in zip(render(1), render(1), render(2), strict=True):
        np.testing.assert_array_equal(first, again)
        assert first.shape != other.shape or (first != other).any()


def test_pages_hold_text_in_the_ink() -> None:
    rng = np.random.default_rng(0)
    look = pages.Look(300, 400, builtin_typeface(), 20, 1.5, 3, 20, (250, 250, 250), (10, 10, 10), 0.0, 0.0, 0.0)
    inked: NDArray[np.bool_] = pages.draw(look, "HHHH " * 100, rng).max(axis=2) < 100
    assert np.count_nonzero(inked.any(axis=1)) in range(3 * 10, 3 * 20)
    assert not inked[:, :20].any()


def test_quarters_turn_clockwise() -> None:
    page = np.zeros((5, 3, 3), np.uint8)
    page[0, 0] = 255
    corners = [(0, 0), (0, -1), (-1, -1), (-1, 0)]  # the upper left corner, followed clockwise
    for quarters, corner in enumerate(corners):
        turned = pages.rotated(page, quarters)
        assert turned[corner].all()
        assert turned.sum() == page.sum()


def test_page_samples_are_cropped_to_bgr() -> None:
    sample = orientation.sample(np.full((300, 500, 3), (255, 0, 0), np.uint8))
    expected = (np.array([0, 0, 1]) - photographs.IMAGENET_MEAN) / photographs.IMAGENET_STD
    assert sample.shape == (1, 3, 224, 224)
    assert sample.dtype == np.float32
    np.testing.assert_allclose(sample[0, :, 100, 100], expected, rtol=1e-5)


def test_equal_values_share_their_mean_rank() -> None:
    assert minilm.ranks(np.array([3.0, 1.0, 3.0, 2.0])).tolist() == [3.5, 1.0, 3.5, 2.0]


def tiny_weights(hidden: int = 8, inner: int = 16, layers: int = 2) -> dict[str, NDArray[np.float32]]:
    linears = {"attention.self.query": (hidden, hidden), "attention.self.key": (hidden, hidden)}
    linears |= {"attention.self.value": (hidden, hidden), "attention.output.dense": (hidden, hidden)}
    linears |= {"intermediate.dense": (inner, hidden), "output.dense": (hidden, inner)}
    shapes: dict[str, tuple[int, ...]] = {"embeddings.LayerNorm.weight": (hidden,)}
    shapes |= {"embeddings.LayerNorm.bias": (hidden,), "embeddings.word_embeddings.weight": (30, hidden)}
    shapes |= {"embeddings.token_type_embeddings.weight": (2, hidden)}
    shapes |= {"embeddings.position_embeddings.weight": (12, hidden)}
    for prefix in (f"encoder.layer.{index}" for index in range(layers)):
        shapes |= {f"{prefix}.{name}.weight": shape for name, shape in linears.items()}
        shapes |= {f"{prefix}.{name}.bias": shape[:1] for name, shape in linears.items()}
        for norm in ("attention.output.LayerNorm", "output.LayerNorm"):
            shapes |= {f"{prefix}.{norm}.weight": (hidden,), f"{prefix}.{norm}.bias": (hidden,)}
    rng = np.random.default_rng(0)
    return {name: rng.standard_normal(shape, np.float32) for name, shape in shapes.items()}


def embed(opset: int, ids: NDArray[np.int64], mask: NDArray[np.int64]) -> NDArray[np.float32]:
    """The tiny encoder's output with ONNX Runtime's own fusions off."""
    model = bert.build(tiny_weights(), bert.Config(layers=2, heads=2), opset)
    onnx.checker.check_model(model, full_check=True)
    fused = sum(node.op_type == "LayerNormalization" for node in model.graph.node)
    assert fused == (5 if opset >= 17 else 0)
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(model.SerializeToString(), options)
    return np.asarray(session.run(None, {"input_ids": ids, "attention_mask": mask})[0])


IDS = np.random.default_rng(1).integers(0, 30, (3, 7))
MASK = np.array([[1] * 7, [1] * 4 + [0] * 3, [1] * 2 + [0] * 5])


@pytest.mark.parametrize("opset", [11, 14, 18, 23])
def test_encoder_is_the_same_at_every_opset(opset: int) -> None:
    np.testing.assert_allclose(embed(opset, IDS, MASK), embed(17, IDS, MASK), atol=1e-5)


def test_encoder_ignores_padding() -> None:
    padded = embed(17, IDS, MASK)
    for row, length in enumerate(MASK.sum(axis=1)):
        alone = embed(17, IDS[row : row + 1, :length], MASK[row : row + 1, :length])
        np.testing.assert_allclose(padded[row], alone[0], atol=1e-5)
        assert np.linalg.norm(alone) == pytest.approx(1, abs=1e-5)
