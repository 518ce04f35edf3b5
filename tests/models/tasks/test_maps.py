"""Maps: the pixels on which two networks agree."""

import numpy as np

from models.subject import Array
from models.tasks import maps


def output(*pixels: float) -> list[Array]:
    return [np.array(pixels, np.float32)]


def test_agreement_counts_pixels_on_the_same_side_of_the_threshold() -> None:
    found = maps.agreement([output(0.9, 0.31, 0.0, 0.0)], [output(0.5, 0.29, 0.2, 0.1)])
    assert found == {"pixels": 3 / 4, "map IoU": 1 / 2}


def test_agreement_is_over_all_maps() -> None:
    found = maps.agreement([output(1, 1), output(0, 0)], [output(1, 1), output(0, 1)])
    assert found == {"pixels": 3 / 4, "map IoU": 2 / 3}


def test_empty_maps_agree() -> None:
    assert maps.agreement([output(0, 0)], [output(0, 0)]) == {"pixels": 1, "map IoU": 1}
