"""The nearest-neighbour probe against scikit-learn, and the protocol of the linear probe."""

import pytest
import torch
from sklearn.neighbors import KNeighborsClassifier

from alae_core.metrics.probes import LinearProbe, nearest_neighbour_accuracy


def codes(count: int, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    labels = torch.randint(0, 3, (count,), generator=generator)
    return torch.randn(count, 5, generator=generator) + labels.unsqueeze(1), labels


def test_the_accuracy_is_scikit_learn_s_with_the_error_of_a_share() -> None:
    train, test = codes(300, 0), codes(120, 1)
    found = nearest_neighbour_accuracy(*train, *test)
    theirs = KNeighborsClassifier(1, algorithm="brute").fit(*(part.numpy() for part in train))
    assert found.value == pytest.approx(theirs.score(*(part.numpy() for part in test)), rel=1e-12)
    assert 0.5 < found.value < 0.95
    assert found.standard_error == pytest.approx((found.value * (1 - found.value) / 120) ** 0.5, rel=0.05)
    assert found.count == 120


def test_of_equally_near_codes_the_first_decides() -> None:
    train = torch.tensor([[1.0], [1.0], [3.0]])
    for labels, share in (([0, 1, 1], 0.0), ([1, 0, 0], 1.0)):
        found = nearest_neighbour_accuracy(train, torch.tensor(labels), torch.tensor([[2.0]]), torch.tensor([1]))
        assert found.value == share


def test_codes_without_their_labels_are_refused() -> None:
    features, labels = codes(5, 0)
    with pytest.raises(ValueError, match=r"test features \[5, 5\] and labels \[4\] do not match"):
        nearest_neighbour_accuracy(features, labels, features, labels[:4])


def test_the_split_is_disjoint_complete_and_named_by_the_seed() -> None:
    probe = LinearProbe(validation=0.2, seed=1)
    fit, held = probe.split(50)
    assert (len(fit), len(held)) == (40, 10)
    assert sorted([*fit.tolist(), *held.tolist()]) == list(range(50))
    assert all(torch.equal(a, b) for a, b in zip(probe.split(50), (fit, held), strict=True))
    assert not torch.equal(LinearProbe(validation=0.2, seed=2).split(50)[1], held)
    assert [len(part) for part in LinearProbe(validation=0.01).split(2)] == [1, 1]


def test_the_best_penalty_is_chosen_and_of_equal_ones_the_smallest() -> None:
    probe = LinearProbe(penalties=(0.1, 1.0, 10.0))
    assert probe.choose({10.0: 0.9, 0.1: 0.8, 1.0: 0.9}) == 1.0
    assert probe.choose({0.1: 0.7, 1.0: 0.5, 10.0: 0.7}) == 0.1
    with pytest.raises(ValueError, match=r"came for C=\[0.1\], expected C=\[0.1, 1.0, 10.0\]"):
        probe.choose({0.1: 1.0})


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"penalties": ()}, "must be ascending"),
        ({"penalties": (1.0, 0.1)}, "must be ascending"),
        ({"penalties": (0.0, 0.1)}, "above 0"),
        ({"validation": 0.0}, "validation=0.0 must be between 0 and 1"),
        ({"validation": 1.0}, "validation=1.0 must be between 0 and 1"),
    ],
)
def test_protocols_that_choose_nothing_are_refused(fields, message) -> None:
    with pytest.raises(ValueError, match=message):
        LinearProbe(**fields)
    with pytest.raises(ValueError, match="1 training features cannot be split"):
        LinearProbe().split(1)
