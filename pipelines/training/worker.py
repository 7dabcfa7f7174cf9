"""The training process of a rank: build, resume, loop, tick; one loop for all algorithms; the only caller of ray.train.report."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ray.train
import ray.train.torch
import torch
from ray.train import Checkpoint, CheckpointUploadMode
from torch import Tensor

from alae_core import fused, sync
from alae_core.engine import Engine, NonFiniteError
from alae_core.state import TrainState
from pipelines import storage
from pipelines.data.feed.feed import Feed, UnreadableError
from pipelines.data.feed.stream import SPLIT, plan, slabs
from pipelines.experiment import Experiment
from pipelines.runs import checkpoint, layout
from pipelines.runs.history import Tick
from pipelines.runs.run import Run
from pipelines.training import perceptual, phases
from pipelines.training.cadence import Due
from pipelines.training.meter import Meter, losses, merged


def train_worker(config: dict[str, Any]) -> None:
    """Train as one rank; `config` holds plain values: experiment (JSON), run_url, commit."""
    experiment = Experiment.from_json(config["experiment"])
    device = ray.train.torch.get_device()
    if device.type == "cuda":
        # The default device of gathered objects, pinned memory and the memory peak.
        torch.cuda.set_device(device)
    if experiment.training.compile:
        fused.require_compiler(device)
    own = checkpoint.latest_for_all_ranks(config["run_url"])
    phases.enter(config["run_url"], phases.BUILDING, _building(experiment, own, device))
    # Ray Data takes seconds to begin, so it begins while the networks are built.
    feed = _feed(experiment, own.nimg if own else 0, device)
    state = TrainState.build(
        experiment.algorithm,
        experiment.seed,
        experiment.training.optimizer,
        device,
        experiment.training.averages_from,
    )
    perceptual.give(state.algorithm, experiment.training.vgg16_weights, device)
    _restore(state, experiment, own)
    sync.broadcast_networks(state.algorithm.networks)
    loop = Loop(experiment, state, config["run_url"], config["commit"], config["changes"])
    try:
        loop.run(feed)
    except (NonFiniteError, UnreadableError) as error:
        # Every rank raises it at once, and would again after a restart: it is written down rather than retried.
        Run(config["run_url"]).fail_on_first_rank(str(error))


def _building(experiment: Experiment, own: checkpoint.CheckpointRef | None, device: torch.device) -> str:
    if own is not None:
        start = f"resuming from the checkpoint at {own.nimg / 1000:g} kimg"
    elif experiment.training.init_from is not None:
        start = f"starting at 0 kimg with the networks of {experiment.training.init_from}"
    else:
        start = "starting at 0 kimg with fresh weights"
    return f"{sync.world_size()} x {device.type}: building the networks, {start}"


def _feed(experiment: Experiment, nimg: int, device: torch.device) -> Feed:
    return Feed(
        slabs(ray.train.get_dataset_shard(SPLIT), experiment.schedule.total_nimg),
        plan(experiment, nimg),
        nimg=nimg,
        rank=sync.rank(),
        ranks=sync.world_size(),
        channels=experiment.algorithm.channels,
        device=device,
        domains=experiment.domains,
    )


def _restore(state: TrainState, experiment: Experiment, own: checkpoint.CheckpointRef | None) -> None:
    """Load the state from the first of these sources that there is."""
    # 1. The run's own newest checkpoint, by our listing rather than Ray's record: the data is planned from the same listing.
    if own is not None:
        checkpoint.load_into(state, own.url)
    # 2. Another run's networks.
    elif experiment.training.init_from is not None:
        checkpoint.load_into(state, experiment.training.init_from, networks_only=True)
    # 3. Fresh weights from the seed.


class Loop:
    """The loop of one rank: maintenance after the last iteration first, then the next iteration."""

    def __init__(
        self,
        experiment: Experiment,
        state: TrainState,
        run_url: str,
        commit: str | None,
        changes: Sequence[dict[str, Any]] = (),
    ) -> None:
        self.experiment = experiment
        self.state = state
        self.run_url = run_url
        self.commit = commit
        self.changes = changes
        self.meter = Meter()
        self._noted = 0
        self._ticks: list[tuple[dict[str, float], float]] = []  # since the last checkpoint, each with its time
        self.engine = engine(experiment)

    def run(self, feed: Feed) -> None:
        """Train to the end of the schedule."""
        if self.state.nimg >= self.experiment.schedule.total_nimg:
            return
        phases.enter(self.run_url, phases.DATA, "reading the first images")
        self.meter.start(self.state.nimg, data_start_s=feed.start())
        training = self.experiment.training
        compiling = "compiling, then " if training.compile else ""
        phases.enter(self.run_url, phases.TRAINING, f"{compiling}training; a line every {training.tick_kimg:g} kimg")
        due = Due(report=False, checkpoint=False, validate=False, done=False)
        while True:
            if due.report:
                self._maintain(due, feed)
            if due.done:
                return
            due = self._train(feed.next)

    def _train(self, next_batch: Callable[[], tuple[Tensor, ...]]) -> Due:
        before, began = self.state.nimg, time.perf_counter()
        self.meter.add(self.engine.train_iteration(self.state, next_batch()))
        self.state.seconds += time.perf_counter() - began
        return Due.between(self.experiment, before, self.state.nimg)

    def _maintain(self, due: Due, feed: Feed) -> None:
        """Report from every rank, with rank 0's checkpoint where one is due."""
        level = self.engine.schedule.level_before(self.state.nimg)
        metrics = self.meter.tick(self.state, level, feed.waited_s, feed.skipped)
        metrics |= losses(self.state.algorithm.updates(self.state.nimg), level, metrics)
        if new := feed.damage[self._noted :]:
            Run(self.run_url).note_damage_on_first_rank(new)
            self._noted += len(new)
        self._ticks.append((metrics, time.time()))
        if not due.checkpoint:
            ray.train.report(metrics)
            return
        if self.experiment.training.check_replicas:
            sync.check_replicas(self.state.algorithm.networks)
        name = layout.checkpoint_name(self.state.nimg)
        saved = checkpoint.write_on_first_rank(
            self.state, self.experiment, self.commit, self._gathered_ticks(), self.changes
        )
        ray.train.report(
            metrics,
            checkpoint=saved and Checkpoint.from_directory(str(saved)),
            checkpoint_dir_name=name,
            checkpoint_upload_mode=CheckpointUploadMode.ASYNC,
            delete_local_checkpoint_after_upload=True,
            checkpoint_upload_fn=Upload(self.run_url),
            validation=due.validate and saved is not None,
        )
        self.meter.start(self.state.nimg, feed.waited_s, feed.skipped)

    def _gathered_ticks(self) -> list[Tick]:
        """The ticks since the last checkpoint, merged over the ranks; a controller that dies may not have recorded them."""
        ticks = []
        for ranks in zip(*sync.gather(self._ticks), strict=True):
            metrics = merged([own for own, _ in ranks])
            ticks.append(Tick.of(int(metrics["progress/nimg"]), metrics, ranks[0][1]))
        self._ticks = []
        return ticks


@dataclass(frozen=True)
class Upload:
    """Ray's upload hook: publishes the checkpoint, verified, and returns its place."""

    run_url: str

    def __call__(self, saved: Checkpoint, name: str) -> Checkpoint:
        url = f"{self.run_url}/{name}"
        checkpoint.publish(Path(saved.path), url)
        filesystem, path = storage.pyarrow_filesystem(url)
        return Checkpoint(path, filesystem)


def engine(experiment: Experiment) -> Engine:
    """The engine that an experiment asks for."""
    return Engine(
        schedule=experiment.schedule,
        seed=experiment.seed,
        ema_half_life_kimg=experiment.training.ema_half_life_kimg,
        microbatch=experiment.training.microbatch,
        precision=experiment.training.precision,
        flip=experiment.data.flip,
        crop=experiment.data.crop,
        enlarge=experiment.data.enlarge,
        compile=experiment.training.compile,
    )
