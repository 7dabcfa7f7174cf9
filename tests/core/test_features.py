"""Features from several processes, placed in the order of their images."""

import pytest
import torch

from alae_core.metrics.features import in_order

ROWS = torch.arange(30.0).view(10, 3)


@pytest.mark.parametrize("workers", [1, 2, 3, 7])
def test_the_order_is_that_of_the_images_however_they_were_dealt(workers: int) -> None:
    numbers = torch.arange(10)
    strided = [(numbers[k::workers], ROWS[k::workers]) for k in range(workers)]
    runs = list(zip(numbers.split(workers), ROWS.split(workers), strict=True))[::-1]
    assert torch.equal(in_order(strided), ROWS)
    assert torch.equal(in_order(runs), ROWS)


@pytest.mark.parametrize("numbers", [[0, 1, 1], [0, 2, 3], [1, 2, 3], [0, 1]])
def test_images_that_are_missing_or_come_twice_are_refused(numbers: list[int]) -> None:
    with pytest.raises(ValueError, match="every image needs its features exactly once"):
        in_order([(torch.tensor(numbers), ROWS[:3])])
