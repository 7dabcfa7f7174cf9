"""One iteration of named updates, on toy algorithms with known gradients."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from alae_core import images
from alae_core.algorithm import Batch, Terms, Update
from alae_core.engine import Engine, Metrics
from alae_core.noise import named_seed
from alae_core.optim import AdamConfig
from alae_core.schedule import Level, ProgressiveSchedule
from alae_core.state import TrainState

SCHEDULE = ProgressiveSchedule(
    resolutions=(4, 8), stable_kimg=(0.016,), fade_kimg=(0.032,), batch_size=(8,), lr=(0.1, 0.2)
)
Loss = Callable[[Batch], dict[str, Tensor]]


class Scalar(nn.Module):
    """A network with one trained value and one buffer."""

    def __init__(self, value: float) -> None:
        super().__init__()
        self.value = nn.Parameter(torch.full((1, 1), value))
        self.register_buffer("seen", torch.zeros(1))


class Toy:
    """An algorithm with the given updates over two scalar networks."""

    averaged = ("first",)
    together = 1

    def __init__(self, updates: tuple[Update, ...], domains: int = 1) -> None:
        self.networks: dict[str, Any] = {"first": Scalar(2.0), "second": Scalar(3.0)}
        self.domains = domains
        self.observed: tuple[str, ...] = ()
        self.seen: list[tuple[Batch, dict[str, Tensor]]] = []
        self._updates = updates

    def updates(self, nimg: int) -> tuple[Update, ...]:
        return self._updates

    def observe(self, batch: Batch, terms: Terms) -> None:
        self.seen.append((batch, dict(terms)))
        assert not torch.is_grad_enabled()
        self.networks["first"].seen += 1.0


class Built:
    """A Config that builds a given algorithm."""

    def __init__(self, toy: Toy) -> None:
        self.build = lambda: toy


def update(loss: Loss, **changes: Any) -> Update:
    settings: dict[str, Any] = {"name": "step", "trains": ("first",), "loss": loss}
    return Update(**(settings | changes))


def state_of(*updates: Update, domains: int = 1) -> TrainState:
    return TrainState.build(Built(Toy(updates, domains)), 0, AdamConfig())


def value(state: TrainState, network: str = "first") -> Any:
    found: Any = state.algorithm.networks[network]
    return found.value


def average(state: TrainState) -> Any:
    return state.ema["first"]


def times(factor: float, state: list[TrainState], network: str = "first") -> Loss:
    """A loss with the term factor * value, whose gradient is `factor`; `state` receives the state once it is built."""
    return lambda batch: {"product": factor * value(state[0], network).expand(batch.size, 1).squeeze(1)}


def pixels(resolution: int = 4, count: int = 8, channels: int = 3) -> Tensor:
    generator = torch.Generator().manual_seed(named_seed("toy", resolution))
    return torch.randint(0, 256, (count, resolution, resolution, channels), generator=generator, dtype=torch.uint8)


def step(state: TrainState, *data: Tensor, **changes: Any) -> Metrics:
    return Engine(schedule=SCHEDULE, **changes).train_iteration(state, data or (pixels(),))


def images_seen(nimg: int = 0, domains: int = 1, **changes: Any) -> list[Tensor]:
    """The images of each domain that a loss receives at `nimg`, concatenated over its micro-batches."""
    seen: list[tuple[Tensor, ...]] = []

    def look(batch: Batch) -> dict[str, Tensor]:
        seen.append(batch.images)
        return {"none": 0 * value(state)}

    state = state_of(update(look), domains=domains)
    state.nimg = nimg
    resolution = SCHEDULE.level_at(nimg).resolution
    step(state, *[pixels(resolution)] * domains, **changes)
    return [torch.cat(parts) for parts in zip(*seen, strict=True)]


def test_an_iteration_advances_by_one_batch_and_names_the_mean_of_each_raw_term() -> None:
    def loss(batch: Batch) -> dict[str, Tensor]:
        return {"rows": value(state) * 0 + torch.arange(8.0), "scalar": value(state).sum()}

    state = state_of(update(loss, weights={"rows": 7.0}))
    metrics = step(state)
    assert {name: float(term) for name, term in metrics.items()} == {"step/rows": 3.5, "step/scalar": 2.0}
    assert (state.nimg, state.iteration) == (8, 1)


def test_a_step_descends_the_weighted_sum_of_the_terms_at_the_level_s_learning_rate() -> None:
    def loss(batch: Batch) -> dict[str, Tensor]:
        return {"a": 5 * value(state).sum(), "b": -value(state).sum()}

    for nimg, lr in ((0, 0.1), (16, 0.2)):
        state = state_of(update(loss, weights={"b": 3.0}))
        state.nimg = nimg
        step(state, pixels(SCHEDULE.level_at(nimg).resolution))
        assert value(state).grad == pytest.approx(5 - 3)
        # Without a first moment, Adam's first step is the learning rate itself.
        assert value(state).item() == pytest.approx(2.0 - lr)


def test_updates_run_in_order_and_each_sees_what_the_ones_before_it_did() -> None:
    seen: list[tuple[str, float]] = []

    def loss(batch: Batch) -> dict[str, Tensor]:
        seen.append((batch.update, value(state).item()))
        return {"product": value(state)}

    state = state_of(update(loss, name="early"), update(loss, name="late"))
    assert list(step(state)) == ["early/product", "late/product"]
    assert seen == [("early", 2.0), ("late", pytest.approx(1.9))]


def test_a_lazy_update_runs_every_kth_iteration_with_its_loss_times_k() -> None:
    box: list[TrainState] = []
    state = state_of(
        update(times(2.0, box), name="lazy", every=3),
        update(times(1.0, box, "second"), name="eager", trains=("second",)),
    )
    box.append(state)
    ran = []
    for _ in range(7):
        ran.append("lazy/product" in step(state))
        state.nimg = 0
    assert ran == [True, False, False, True, False, False, True]
    assert value(state).grad is not None and value(state).grad.item() == 2.0 * 3
    assert value(state, "second").grad.item() == 1.0


def test_only_the_trained_network_asks_for_gradients_in_the_forward_pass() -> None:
    asked: dict[str, tuple[bool, bool]] = {}

    def loss(batch: Batch) -> dict[str, Tensor]:
        asked[batch.update] = (value(state).requires_grad, value(state, "second").requires_grad)
        return {"product": value(state) * value(state, "second")}

    state = state_of(update(loss, name="one"), update(loss, name="two", trains=("second",)))
    step(state)
    assert asked == {"one": (True, False), "two": (False, True)}


@pytest.mark.parametrize("microbatch", [None, (1,), (3,), (8, 2), (20,)])
def test_micro_batches_see_every_row_once_and_give_the_same_gradient_and_terms(
    microbatch: tuple[int, ...] | None,
) -> None:
    rows: list[int] = []

    def loss(batch: Batch) -> dict[str, Tensor]:
        rows.extend(range(batch.rows.start, batch.rows.stop))
        assert batch.size == len(batch.images[0]) <= (microbatch or (8,))[0]
        return {"own": value(state).squeeze() * torch.arange(8.0)[batch.rows], "scalar": value(state).sum()}

    state = state_of(update(loss))
    metrics = step(state, microbatch=microbatch)
    assert rows == list(range(8))
    assert float(metrics["step/own"]) == pytest.approx(7.0)
    assert float(metrics["step/scalar"]) == pytest.approx(2.0)
    assert value(state).grad.item() == pytest.approx(4.5)


# Refusals.


@pytest.mark.parametrize("shape", [(7, 4, 4, 3), (8, 8, 8, 3), (8, 4, 8, 3)])
def test_a_batch_of_another_shape_is_refused_with_what_belongs_there(shape: tuple[int, ...]) -> None:
    state = state_of(update(lambda batch: {"none": 0 * value(state)}))
    with pytest.raises(ValueError, match=r"a batch of shape \(.*\) came where \[8, 4, 4, C\] belongs \(level 0"):
        step(state, torch.zeros(shape, dtype=torch.uint8))


def test_weights_of_unknown_terms_are_refused_with_the_known_ones() -> None:
    state = state_of(update(lambda batch: {"a": value(state)}, weights={"b": 1.0}))
    with pytest.raises(ValueError, match=r"step weighs unknown terms \['b'\]; its terms are \['a'\]"):
        step(state)
    assert value(state).item() == 2.0


# The inputs of losses.


def test_losses_get_floats_of_the_pixels_blended_with_the_coarser_level_in_a_fade() -> None:
    (stable,) = images_seen(0)
    assert torch.equal(stable, images.to_float(pixels()))
    (fading,) = images_seen(24)
    blend = SCHEDULE.level_at(24).blend
    assert blend == pytest.approx(0.5)
    torch.testing.assert_close(fading, images.blend_with_coarser(images.to_float(pixels(8)), blend))


def test_flips_are_named_by_the_images_seen_and_the_same_for_any_split() -> None:
    (whole,) = images_seen(0, flip=True)
    (again,) = images_seen(0, flip=True)
    (halves,) = images_seen(0, flip=True, microbatch=(4,))
    (later,) = images_seen(8, flip=True)
    assert torch.equal(whole, again) and torch.equal(whole, halves)
    assert not torch.equal(whole, later)
    plain = images.to_float(pixels())
    mirrored = [torch.equal(w, p.flip(2)) for w, p in zip(whole, plain, strict=True)]
    kept = [torch.equal(w, p) for w, p in zip(whole, plain, strict=True)]
    assert [a != b for a, b in zip(mirrored, kept, strict=True)] == [True] * 8
    assert 0 < sum(mirrored) < 8


@pytest.mark.parametrize("cut", [{"crop": 0.25}, {"enlarge": 1.5}], ids=str)
def test_crops_are_named_by_the_images_seen_and_the_same_for_any_split(cut: dict[str, Any]) -> None:
    (whole,) = images_seen(0, **cut)
    (halves,) = images_seen(0, **cut, microbatch=(4,))
    (later,) = images_seen(8, **cut)
    assert torch.equal(whole, halves) and not torch.equal(whole, later)


def test_a_cropped_image_fades_in_from_its_own_coarser_version() -> None:
    (found,) = images_seen(24, crop=0.25)
    moves = torch.cartesian_prod(*[(torch.arange(5) + 0.5) / 5] * 2)
    plain, blend = images.to_float(pixels(8)), SCHEDULE.level_at(24).blend
    moved = torch.stack([images.shift(plain, move.expand(8, 2), 0.25) for move in moves])
    blended = torch.stack([images.blend_with_coarser(part, blend) for part in moved])
    which = (blended - found).abs().flatten(2).amax(2).min(0)
    assert which.values.max() < 1e-6
    assert len(which.indices.unique()) > 1


def test_two_domains_are_flipped_and_cut_apart() -> None:
    assert not torch.equal(*images_seen(0, domains=2, enlarge=1.5))
    first, second = images_seen(0, domains=2, flip=True)
    assert not torch.equal(first, second)
    assert all(torch.equal(a, b) or torch.equal(a, b.flip(2)) for a, b in zip(first, second, strict=True))


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_autocast_covers_the_updates_that_allow_it(precision: str) -> None:
    found: dict[str, torch.dtype] = {}

    def loss(batch: Batch) -> dict[str, Tensor]:
        product = value(state) @ torch.ones(1, 1)
        found[batch.update] = product.dtype
        return {"product": product}

    state = state_of(update(loss, name="fast"), update(loss, name="exact", amp=False))
    metrics = step(state, precision=precision)
    fast = torch.bfloat16 if precision == "bf16" else torch.float32
    assert found == {"fast": fast, "exact": torch.float32}
    assert {term.dtype for term in metrics.values()} == {torch.float32}


# After the updates.


def test_the_averages_follow_after_the_last_update_and_the_whole_batch_is_observed() -> None:
    state = state_of(update(lambda batch: {"product": value(state)}))
    step(state, ema_half_life_kimg=0.008)
    assert average(state).value.item() == pytest.approx((2.0 + 1.9) / 2)
    assert average(state).seen.item() == 1.0
    ((seen, terms),) = state.algorithm.seen  # type: ignore[attr-defined]
    assert terms == {}
    assert (seen.rows, seen.nimg, seen.update) == (slice(0, 8), 0, "observe")


def test_the_observed_terms_of_the_updates_that_were_due_are_handed_over() -> None:
    state = state_of(
        update(lambda batch: {"a": value(state), "b": value(state)}, name="eager"),
        update(lambda batch: {"c": value(state, "second")}, name="lazy", trains=("second",), every=2),
    )
    state.algorithm.observed = ("eager/b", "lazy/c")
    step(state)
    step(state)
    seen = [terms for _, terms in state.algorithm.seen]  # type: ignore[attr-defined]
    assert [{name: float(term) for name, term in terms.items()} for terms in seen] == [
        {"eager/b": 2.0, "lazy/c": 3.0},
        {"eager/b": pytest.approx(1.9)},
    ]


def test_an_update_hands_on_to_the_later_ones_of_its_iteration_by_rows_and_not_beyond() -> None:
    found: list[Tensor | None] = []

    def early(batch: Batch) -> dict[str, Tensor]:
        found.append(batch.handed("double"))
        batch.hand_on("double", 2 * value(state) * batch.rows.start)
        return {"none": 0 * value(state)}

    def late(batch: Batch) -> dict[str, Tensor]:
        found.append(batch.handed("double"))
        return {"none": 0 * value(state)}

    state = state_of(update(early, name="early"), update(late, name="late"))
    for _ in range(2):
        step(state, microbatch=(4,))
        state.nimg = 0
    handed = [None if tensor is None else float(tensor) for tensor in found]
    assert handed == [None, None, 0.0, 16.0] * 2
    assert all(tensor is None or not tensor.requires_grad for tensor in found)


def test_weights_of_a_level_replace_those_that_hold_at_every_level() -> None:
    def loss(batch: Batch) -> dict[str, Tensor]:
        return {"a": value(state).sum(), "b": value(state).sum()}

    def weights(level: Level) -> dict[str, float]:
        return {"b": 10.0 * level.index + level.seen}

    for nimg, expected in ((8, 3 + 8.0), (24, 3 + 10 + 8.0)):
        state = state_of(update(loss, weights={"a": 3.0, "b": 100.0}, level_weights=weights))
        state.nimg = nimg
        step(state, pixels(SCHEDULE.level_at(nimg).resolution))
        assert value(state).grad.item() == expected


def test_moments_are_cleared_where_the_level_changes_and_only_there() -> None:
    state = state_of(update(lambda batch: {"product": value(state)}))
    steps = []
    while state.nimg < SCHEDULE.total_nimg:
        step(state, pixels(SCHEDULE.level_at(state.nimg).resolution))
        steps.append(int(state.optimizers["first"].state[value(state)]["step"]))
    assert steps == [1, 2, 1, 2, 3, 4, 5, 6]


def test_another_seed_names_other_noise() -> None:
    drawn = []

    def loss(batch: Batch) -> dict[str, Tensor]:
        drawn.append(batch.noise("z", 1))
        return {"none": 0 * value(state)}

    state = state_of(update(loss))
    for seed in (0, 0, 1):
        state = state_of(replace(update(loss)))
        step(state, seed=seed)
    assert torch.equal(drawn[0], drawn[1]) and not torch.equal(drawn[0], drawn[2])


# Moments, lazy corrections, groups, and the effects of a change of level.


def test_an_update_with_moments_of_its_own_steps_an_adam_of_its_own() -> None:
    def loss(batch: Batch) -> dict[str, Tensor]:
        return {"value": value(state).sum()}

    state = state_of(update(loss, name="one"), update(loss, name="two", moments="apart"))
    assert set(state.optimizers) == {"first", "second", "first@apart"}
    step(state)
    steps = {name: [int(m["step"]) for m in adam.state.values()] for name, adam in state.optimizers.items()}
    assert steps == {"first": [1], "second": [], "first@apart": [1]}


@pytest.mark.parametrize(("every", "share"), [((1,), 1.0), ((1, 4), 4 / 5), ((1, 1, 8), 16 / 17), ((4,), 1.0)])
def test_lazy_updates_shorten_the_memory_and_the_rate_by_their_share_of_steps(
    every: tuple[int, ...], share: float
) -> None:
    def loss(batch: Batch) -> dict[str, Tensor]:
        return {"value": value(state).sum()}

    updates = tuple(update(loss, name=f"u{place}", every=k) for place, k in enumerate(every))
    state = state_of(*updates)
    adam = state.optimizers["first"]
    assert adam.param_groups[0]["betas"] == (0.0, pytest.approx(0.99**share))
    step(state)
    assert adam.param_groups[0]["lr"] == pytest.approx(SCHEDULE.level_at(0).lr * share)


def test_a_part_that_splits_a_group_of_images_is_refused() -> None:
    def loss(batch: Batch) -> dict[str, Tensor]:
        return {"value": value(state).sum()}

    state = state_of(update(loss))
    state.algorithm.together = 4
    step(state, microbatch=(4,))
    with pytest.raises(ValueError, match="do not keep groups of 4 whole"):
        step(state, microbatch=(2,))
