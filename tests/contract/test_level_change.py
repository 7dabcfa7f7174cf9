"""A change of level frees the tensors of the old level, and compiled kernels also work at the new one."""

import gc

import pytest
import torch

from alae_core.state import TrainState
from pipelines.experiment import Experiment
from tests.support import tensors, tiny

pytestmark = pytest.mark.slow

EXPERIMENT = tiny.brief(tiny.presets.load("mnist32_style_alae"))


def living() -> dict[int, torch.Tensor]:
    """Tensors in memory by identity; the dictionary keeps them alive, so that identities stay unique."""
    gc.collect()
    return {id(found): found for found in gc.get_objects() if isinstance(found, torch.Tensor)}


def new_since(before: dict[int, torch.Tensor]) -> tuple[int, int]:
    """Number and bytes of the tensors that were not alive before."""
    tensors = [tensor for identity, tensor in living().items() if identity not in before]
    storages = {t.untyped_storage().data_ptr(): t.untyped_storage().nbytes() for t in tensors}
    return len(tensors), sum(storages.values())


def after_training(start: int, until: int) -> tuple[TrainState, tuple[int, int]]:
    """Number and bytes of new tensors after a state has been trained from image `start` on."""
    before = living()
    state = tiny.build(EXPERIMENT)
    state.nimg, state.level_index = start, EXPERIMENT.schedule.level_at(start).index
    tiny.train(state, EXPERIMENT, until)
    return state, new_since(before)


def test_a_run_that_grew_holds_no_more_than_one_that_started_at_its_level() -> None:
    segment = EXPERIMENT.schedule.segments[1]
    end = segment.start + 2 * tiny.BATCH
    # The first result is discarded, because it includes caches that are made once.
    after_training(0, end)
    grown, held_after_growth = after_training(0, end)
    started, held_from_the_start = after_training(segment.start, end)
    assert grown.nimg == started.nimg == end
    # A level uses only its own layers, so a moment or graph left from the level before would count.
    assert held_after_growth == held_from_the_start


def test_the_iterations_of_a_level_hold_nothing_after_them() -> None:
    def held_after(batches: int) -> tuple[int, int]:
        before = living()
        state = tiny.build(EXPERIMENT)
        tiny.train(state, EXPERIMENT, batches * tiny.BATCH)
        return new_since(before)

    held_after(1)
    assert held_after(3) == held_after(2)


@pytest.mark.slow
def test_compiled_training_is_that_of_single_operations_and_a_new_level_compiles_nothing_twice() -> None:
    from torch._dynamo.utils import counters

    def graphs() -> int:
        return int(counters["stats"]["unique_graphs"])

    def trained(experiment: Experiment, compiled: bool) -> tuple[TrainState, list[int]]:
        state, counts = tiny.build(experiment), []
        while state.nimg < experiment.schedule.total_nimg:
            tiny.train(state, experiment, state.nimg + 1, compile=compiled)
            counts.append(graphs())
        return state, counts

    # Double precision, because Adam's first steps turn the rounding error of a tiny gradient into a whole step.
    with tensors.float64():
        plain, _ = trained(EXPERIMENT, compiled=False)
        precise, _ = trained(EXPERIMENT, compiled=True)
    assert tensors.distance(tensors.networks_of(precise), tensors.networks_of(plain)) < 1e-6
    fused, counts = trained(EXPERIMENT, compiled=True)
    assert counts[0] > 0
    grown = EXPERIMENT.schedule.segments[1].start // tiny.BATCH
    # Only the first iterations of a level may compile a kernel.
    assert counts[-1] == counts[grown + 1]
    assert counts[-1] - counts[grown - 1] <= counts[0]
    again, recount = trained(EXPERIMENT, compiled=True)
    assert recount[-1] == counts[-1]
    assert not tensors.differing(again.state_dict(), fused.state_dict())
