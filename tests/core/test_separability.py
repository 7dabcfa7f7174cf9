"""Conditional entropies of tables that are small enough to compute by hand."""

import math

import numpy as np
import pytest
from sklearn.svm import LinearSVC

from alae_core.metrics.separability import (
    conditional_entropy,
    most_confident,
    separability,
    separability_estimate,
    surprisals,
)


def table(counts: list[list[int]]) -> tuple[np.ndarray, np.ndarray]:
    """Predictions and labels that occur together counts[prediction][label] times."""
    cells = [(p, y) for p, row in enumerate(counts) for y, count in enumerate(row) for _ in range(count)]
    predictions, labels = np.array(cells).T
    return predictions, labels


def test_labels_that_are_separated_perfectly_have_no_entropy_and_a_score_of_one() -> None:
    for counts in ([[5, 0], [0, 3]], [[0, 5], [3, 0]]):
        assert conditional_entropy(*table(counts)) == 0.0
    assert separability([0.0] * 40) == 1.0
    assert separability([]) == 1.0


def test_an_uninformative_prediction_leaves_the_label_s_whole_entropy() -> None:
    assert conditional_entropy(*table([[4, 4], [2, 2]])) == pytest.approx(1.0)
    assert conditional_entropy(*table([[1, 3], [2, 6]])) == pytest.approx(0.25 * 2 + 0.75 * math.log2(4 / 3))


def test_the_entropy_is_the_mean_over_the_predictions_of_that_of_their_labels() -> None:
    # 4 of 10 predictions are 0, 1 of them wrong; 6 are 1, 2 of them wrong.
    def binary(p: float) -> float:
        return -p * math.log2(p) - (1 - p) * math.log2(1 - p)

    expected = 0.4 * binary(1 / 4) + 0.6 * binary(2 / 6)
    assert conditional_entropy(*table([[3, 1], [2, 4]])) == pytest.approx(expected)


def test_the_score_doubles_with_every_bit() -> None:
    assert separability([0.5, 1.0, 1.5]) == pytest.approx(8.0)


def test_predictions_without_their_labels_are_refused() -> None:
    for predictions, labels in ((np.zeros(3, int), np.zeros(2, int)), (np.zeros(0, int), np.zeros(0, int))):
        with pytest.raises(ValueError, match=r"predictions came with \d labels; give one for each"):
            conditional_entropy(predictions, labels)


def test_the_most_confident_are_those_farthest_from_one_half() -> None:
    assert most_confident(np.array([0.5, 0.9, 0.05, 0.6, 0.4]), 3).tolist() == [2, 1, 3]


def score(codes: np.ndarray, labels: np.ndarray) -> float:
    predictions = LinearSVC(random_state=0).fit(codes, labels).predict(codes)
    return separability([conditional_entropy(predictions, labels)])


def test_a_plane_separates_a_half_space_and_leaves_all_of_an_exclusive_or() -> None:
    codes = np.random.default_rng(0).standard_normal((2000, 4))
    codes += 0.2 * np.sign(codes)
    assert score(codes, (codes[:, 0] > 0).astype(int)) == 1.0
    # The power and the logarithm have the same base: a conditional entropy of one bit gives a score of two.
    assert 1.9 < score(codes, ((codes[:, 0] > 0) ^ (codes[:, 1] > 0)).astype(int)) <= 2.0


def test_the_surprisals_mean_is_the_entropy() -> None:
    predictions, labels = table([[3, 1], [2, 4]])
    bits = surprisals(predictions, labels)
    assert bits.tolist() == pytest.approx([-math.log2(p) for p in [3 / 4] * 3 + [1 / 4] + [1 / 3] * 2 + [2 / 3] * 4])
    assert bits.mean() == pytest.approx(conditional_entropy(predictions, labels))


def test_the_estimate_is_the_score_with_no_error_where_all_is_separated() -> None:
    predictions, labels = table([[3, 1], [2, 4]])
    rows = np.arange(10)
    found = separability_estimate([(rows, surprisals(predictions, labels))] * 2, 10)
    assert found.value == pytest.approx(separability([conditional_entropy(predictions, labels)] * 2))
    assert found.standard_error is not None and found.standard_error > 0 and found.count == 10
    perfect = separability_estimate([(rows, surprisals(labels, labels))], 10)
    assert (perfect.value, perfect.standard_error) == (1.0, 0.0)
