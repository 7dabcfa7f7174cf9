"""Named noise: repeatable, different for every part of its name, and independent of the global generator."""

import pytest
import torch

from alae_core import noise
from alae_core.algorithm import Batch
from alae_core.schedule import Level

CPU = torch.device("cpu")
PINNED = 6678605730233891021


def batch(rows: slice, update: str = "generator", nimg: int = 64, seed: int = 0) -> Batch:
    level = Level(index=0, resolution=4, blend=1.0, batch_size=8, lr=0.1)
    images = (torch.zeros(rows.stop - rows.start, 1, 4, 4),)
    return Batch(images=images, level=level, nimg=nimg, seed=seed, rows=rows, update=update)


def test_a_name_gives_the_same_noise_again_without_touching_the_global_generator() -> None:
    before = torch.get_rng_state()
    first = noise.normal((3, 4), CPU, 0, 64, "z")
    torch.randn(7)
    torch.set_rng_state(before)
    assert torch.equal(first, noise.normal((3, 4), CPU, 0, 64, "z"))
    assert torch.equal(before, torch.get_rng_state())


def test_each_part_of_a_name_and_their_order_and_borders_matter() -> None:
    names = [
        (0, 64, "z"),
        (1, 64, "z"),
        (0, 72, "z"),
        (0, 64, "w"),
        (64, 0, "z"),
        (0, 6, "4z"),
        (0, 64, "z", ""),
    ]
    seeds = {noise.named_seed(*name) for name in names}
    assert len(seeds) == len(names)
    assert all(0 <= seed < 2**63 for seed in seeds)


def test_the_seed_of_a_name_is_the_same_in_every_version() -> None:
    assert noise.named_seed(0, 64, "generator", "z") == PINNED


def test_noise_is_standard_normal_and_chance_uniform() -> None:
    normal, uniform = noise.normal((20_000,), CPU, "a"), noise.uniform((20_000,), CPU, "a")
    assert abs(float(normal.mean())) < 0.03 and abs(float(normal.std()) - 1) < 0.03
    assert float(uniform.min()) >= 0 and float(uniform.max()) < 1
    assert abs(float(uniform.mean()) - 0.5) < 0.01


@pytest.mark.parametrize("draw", ["noise", "uniform"])
def test_an_image_draws_the_same_whichever_rank_or_micro_batch_holds_it(draw: str) -> None:
    whole = getattr(batch(slice(0, 8)), draw)("z", 5)
    parts = [getattr(batch(rows), draw)("z", 5) for rows in (slice(0, 3), slice(3, 4), slice(4, 8))]
    assert torch.equal(torch.cat(parts), whole)
    assert whole.shape == (8, 5)
    assert len(set(whole[:, 0].tolist())) == 8


def test_updates_positions_seeds_and_names_draw_apart() -> None:
    rows = slice(0, 8)
    drawn = [
        batch(rows).noise("z", 2),
        batch(rows).noise("y", 2),
        batch(rows, update="reciprocity").noise("z", 2),
        batch(rows, nimg=72).noise("z", 2),
        batch(rows, seed=1).noise("z", 2),
    ]
    assert len({tuple(noise.flatten().tolist()) for noise in drawn}) == len(drawn)


def test_the_whole_batch_draws_for_every_rank_what_its_ranks_draw() -> None:
    part = batch(slice(4, 8))
    assert part.whole().size == 8
    assert torch.equal(part.whole().noise("z", 2)[4:], part.noise("z", 2))


def test_rows_beyond_the_global_batch_are_refused_instead_of_drawn_short() -> None:
    with pytest.raises(ValueError, match=r"rows 4\.\.12 lie beyond the 8 of level\.batch_size"):
        batch(slice(4, 12)).noise("z", 2)
