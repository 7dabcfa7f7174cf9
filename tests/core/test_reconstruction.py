"""Reconstruction errors against formulas of five lines."""

import numpy as np
import pytest
import torch

from alae_core.metrics.reconstruction import l1, l2, reciprocity, unexplained


def normal(seed: int, *shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def test_errors_are_means_per_image() -> None:
    a, b = normal(0, 5, 3, 4, 6), normal(1, 5, 3, 4, 6)
    gap = a.double().numpy() - b.double().numpy()
    np.testing.assert_allclose(l1(a, b), np.abs(gap).mean((1, 2, 3)), rtol=1e-12)
    np.testing.assert_allclose(l2(a, b), np.square(gap).mean((1, 2, 3)), rtol=1e-12)


def test_reciprocity_sums_over_the_code() -> None:
    w, back = normal(0, 5, 7), normal(1, 5, 7)
    np.testing.assert_allclose(reciprocity(w, back), np.square((w.double() - back.double()).numpy()).sum(1), rtol=1e-12)


def test_nothing_is_unexplained_if_codes_come_back_and_all_if_their_mean_does() -> None:
    w = normal(0, 20, 7) * 5 + 3
    assert unexplained(w, w).value == 0.0
    found = unexplained(w, w.double().mean(0).expand(20, -1))
    assert (found.value, found.standard_error) == (pytest.approx(1.0, rel=1e-12), pytest.approx(0.0, abs=1e-9))


def test_the_unexplained_share_has_no_scale() -> None:
    w, back = normal(0, 20, 7).double(), normal(1, 20, 7).double()
    one, large = unexplained(w, back), unexplained(100 * w + 7, 100 * back + 7)
    assert (large.value, large.standard_error) == pytest.approx((one.value, one.standard_error), rel=1e-9)


def test_what_has_no_counterpart_or_does_not_vary_is_refused() -> None:
    for measure in (l1, l2, reciprocity, unexplained):
        with pytest.raises(ValueError, match=r"\[2, 3\] and \[2, 4\] cannot be compared"):
            measure(torch.zeros(2, 3), torch.zeros(2, 4))
    for codes in (torch.ones(3, 2), torch.ones(1, 2)):
        with pytest.raises(ValueError, match="do not vary"):
            unexplained(codes, codes)
