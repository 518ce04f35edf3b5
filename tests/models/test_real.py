"""The float models reach the scores that their data sets promise. Downloads about 240 MB on the first run."""

import numpy as np
import pytest

from models import minilm, orientation, vit
from models.subject import Feed, Subject, predictor

pytestmark = pytest.mark.download

SUBJECTS = [minilm.MINILM, orientation.ORIENTATION, vit.VIT_S]
SCORES = [
    (minilm.MINILM, {"lee_pearson": 0.6564, "wordsim_spearman": 0.7289}, 5e-4),
    (orientation.ORIENTATION, {"accuracy": 0.96}, 0.015),  # another FreeType may render a page differently
    (vit.VIT_S, {}, 0),
]


def name(value: object) -> str | None:
    return value.name if isinstance(value, Subject) else None


@pytest.mark.parametrize(("subject", "scores", "tolerance"), SCORES, ids=name)
def test_float_scores(subject: Subject, scores: dict[str, float], tolerance: float) -> None:
    assert subject.score(predictor(subject.model())) == pytest.approx(scores, abs=tolerance)


@pytest.mark.parametrize("opset", [11, 14, 23])
def test_minilm_is_the_same_at_every_opset(opset: int) -> None:
    predict, reference = (predictor(minilm.build(version)) for version in (opset, 17))
    for feed in minilm.MINILM.evaluation()[:8]:
        assert np.allclose(predict(feed)[0], reference(feed)[0], rtol=0, atol=1e-5)


@pytest.mark.parametrize("subject", SUBJECTS, ids=name)
def test_data_is_the_same_on_every_call_and_shared_by_no_two_sets(subject: Subject) -> None:
    calibration, evaluation = subject.calibration(), subject.evaluation()
    assert len(calibration) >= 32
    assert len(evaluation) >= 48
    assert fingerprints(calibration) == fingerprints(subject.calibration())
    assert not set(fingerprints(calibration)) & set(fingerprints(evaluation))


def fingerprints(feeds: list[Feed]) -> list[bytes]:
    return [b"".join(array.tobytes() for array in feed.values()) for feed in feeds]
