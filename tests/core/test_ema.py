"""Averaged copies: equal at first, updated with a half-life in images, never trained."""

import pytest
import torch
from torch import nn

from alae_core.ema import averaged_copies, update_averages


def network(value: float) -> nn.BatchNorm1d:
    """A network whose parameters and buffers all have one value."""
    layer = nn.BatchNorm1d(2)
    with torch.no_grad():
        for tensor in (*layer.parameters(), layer.running_mean, layer.running_var):
            tensor.fill_(value)  # type: ignore[union-attr]
    return layer


@pytest.mark.parametrize("batch_size", [8, 50, 1000])
@pytest.mark.parametrize("half_life_kimg", [2.0, 10.0])
def test_after_a_half_life_half_of_the_old_value_is_left_whatever_the_batch(
    batch_size: int, half_life_kimg: float
) -> None:
    networks = {"model": network(1.0)}
    averages = averaged_copies(networks, ["model"])
    for parameter in networks["model"].parameters():
        parameter.data.fill_(0.0)
    for _ in range(round(1000 * half_life_kimg) // batch_size):
        update_averages(averages, networks, batch_size, half_life_kimg)
    for parameter in averages["model"].parameters():
        torch.testing.assert_close(parameter, torch.full((2,), 0.5), rtol=1e-3, atol=0, check_stride=False)


def test_buffers_are_copied_outright() -> None:
    networks = {"model": network(1.0)}
    averages = averaged_copies(networks, ["model"])
    networks["model"].running_mean.fill_(5.0)  # type: ignore[union-attr]
    update_averages(averages, networks, 8, 10.0)
    assert averages["model"].running_mean.tolist() == [5.0, 5.0]  # type: ignore[union-attr, operator]


def test_a_half_life_of_zero_makes_the_copies_equal_the_networks() -> None:
    networks = {"model": network(1.0)}
    averages = averaged_copies({"model": network(3.0)}, ["model"])
    update_averages(averages, networks, 8, 0.0)
    assert all((p == 1.0).all() for p in averages["model"].parameters())


def test_copies_start_exact_frozen_in_evaluation_mode_and_apart_from_the_networks() -> None:
    networks: dict[str, nn.Module] = {"model": network(1.5), "other": network(2.0)}
    averages = averaged_copies(networks, ["model"])
    assert set(averages) == {"model"}
    assert not averages["model"].training and networks["model"].training
    assert not any(p.requires_grad for p in averages["model"].parameters())
    next(networks["model"].parameters()).data.fill_(9.0)
    assert all((t == 1.5).all() for t in averages["model"].state_dict().values() if t.is_floating_point())
