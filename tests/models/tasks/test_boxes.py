"""Boxes: decoding, suppression and the share on which two networks agree."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from models.tasks import boxes
from models.tasks.boxes import Boxes, Floats

CORNERS = arrays(np.float64, st.tuples(st.integers(1, 6), st.just(4)), elements=st.integers(0, 9).map(float))


def some(*corners: tuple[float, float, float, float], classes: list[int], scores: list[float]) -> Boxes:
    return Boxes(np.array(corners, np.float64).reshape(-1, 4), np.array(classes, np.intp), np.array(scores))


def test_yolov8_takes_centres_sizes_and_the_best_class() -> None:
    output = np.array([[[10.0], [20.0], [4.0], [6.0], [0.1], [0.7]]], np.float32)
    decoded = boxes.yolov8([output])
    assert decoded.corners.tolist() == [[8, 17, 12, 23]]
    assert decoded.classes.tolist() == [1]
    assert decoded.scores == pytest.approx([0.7])


def test_picodet_adds_expected_distances_to_the_centres_of_its_places() -> None:
    size, bins = (16, 24), 8
    places = [2 * 3, 1 * 2, 1 * 1, 1 * 1]  # at strides 8, 16, 32 and 64
    scores = [np.zeros((1, count, 2), np.float32) for count in places]
    distributions = [np.zeros((1, count, 4 * bins), np.float32) for count in places]
    scores[0][0, 4, 1] = 0.9  # second row, second column: its centre is (12, 12)
    for side, distance in enumerate((1, 0, 1, 2)):
        distributions[0][0, 4, side * bins + distance] = 100
    found = boxes.detected(boxes.picodet(size)([*scores, *distributions]))
    assert found.corners == pytest.approx(np.array([[12 - 8, 12, 12 + 8, 12 + 16]]))
    assert found.classes.tolist() == [1]


def test_iou_is_the_shared_area_over_the_total() -> None:
    shared = boxes.iou(np.array([[0.0, 0, 2, 2]]), np.array([[1.0, 0, 3, 2], [2, 2, 3, 3], [5, 5, 5, 5]]))
    assert shared == pytest.approx(np.array([[1 / 3, 0, 0]]))


@given(CORNERS, CORNERS)
def test_iou_is_a_symmetric_share(first: Floats, second: Floats) -> None:
    shared = boxes.iou(first, second)
    assert ((shared >= 0) & (shared <= 1)).all()
    np.testing.assert_array_equal(shared, boxes.iou(second, first).T)
    assert (boxes.iou(first, first).diagonal() == (boxes.area(first) > 0)).all()


def test_a_better_box_of_its_class_suppresses_another() -> None:
    found = boxes.detected(
        some(
            (0, 0, 9, 9),
            (0, 0, 10, 10),
            (0, 0, 10, 10),
            (50, 50, 60, 60),
            classes=[0, 0, 1, 0],
            scores=[0.8, 0.9, 0.5, 0.2],
        )
    )
    assert found.scores.tolist() == [0.9, 0.5]
    assert found.classes.tolist() == [0, 1]


def test_a_suppressed_box_suppresses_none() -> None:
    chain = some((0, 0, 10, 4), (0, 2, 10, 6), (0, 3, 10, 7), classes=[0] * 3, scores=[0.9, 0.8, 0.7])
    tall = some((0, 0, 10, 12), (0, 3, 10, 15), (0, 7, 10, 19), classes=[0] * 3, scores=[0.9, 0.8, 0.7])
    assert boxes.detected(chain).scores.tolist() == [0.9, 0.8]  # IoU 1/3, then 0.6 of one that is kept
    assert boxes.detected(tall).scores.tolist() == [0.9, 0.7]  # IoU 0.6, then 0.5 of one that is not


@given(CORNERS)
def test_detections_of_a_class_hardly_overlap_and_do_not_turn_on_the_order(corners: Floats) -> None:
    count = len(corners)
    scores = np.linspace(0.3, 0.9, count)
    found = boxes.detected(Boxes(corners, np.zeros(count, np.intp), scores))
    shared = boxes.iou(found.corners, found.corners)
    assert (shared[~np.eye(len(shared), dtype=bool)] <= boxes.OVERLAP).all()
    again = boxes.detected(Boxes(corners[::-1], np.zeros(count, np.intp), scores[::-1]))
    np.testing.assert_array_equal(found.corners, again.corners)


def test_f1_weighs_missing_and_added_boxes() -> None:
    both = some((0, 0, 10, 10), (20, 20, 30, 30), classes=[0, 1], scores=[0.9, 0.8])
    one = some((0, 0, 10, 10.5), classes=[0], scores=[0.5])
    none = some(classes=[], scores=[])
    assert boxes.f1([both], [both]) == boxes.f1([none], [none]) == 1
    assert boxes.f1([both], [one]) == boxes.f1([one], [both]) == pytest.approx(2 / 3)
    assert boxes.f1([both], [none]) == boxes.f1([none], [both]) == 0


def test_f1_is_of_boxes_of_one_image_class_and_place() -> None:
    here = some((0, 0, 10, 10), classes=[0], scores=[0.9])
    other_class = some((0, 0, 10, 10), classes=[1], scores=[0.9])
    moved = some((0, 0, 10, 8.9), classes=[0], scores=[0.9])
    none = some(classes=[], scores=[])
    assert boxes.f1([here], [other_class]) == boxes.f1([here], [moved]) == boxes.f1([here, none], [none, here]) == 0


def test_agreement_decodes_both() -> None:
    output = np.array([[[10.0], [20.0], [4.0], [6.0], [0.7]]], np.float32)
    below = output * np.array([1, 1, 1, 1, 0.1], np.float32)[:, None]
    compare = boxes.agreement(boxes.yolov8)
    assert compare([[output]], [[output]]) == {"boxes F1": 1}
    assert compare([[output]], [[below]]) == {"boxes F1": 0}
