"""Phases that workers write reach the driver once, in order, and can neither end nor delay a run."""

import time
from collections.abc import Iterator

import pytest
from ray.experimental import internal_kv

from pipelines.training import phases

RUN = "s3://bucket/run"


@pytest.fixture(autouse=True)
def _store(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Ray's key-value store, without Ray."""
    kept: dict[tuple[str, str], bytes] = {}
    monkeypatch.setattr(phases, "POLL_S", 0.005)
    monkeypatch.setattr(
        internal_kv, "_internal_kv_put", lambda key, text, namespace: kept.update({(namespace, key): text.encode()})
    )
    monkeypatch.setattr(internal_kv, "_internal_kv_get", lambda key, namespace: kept.get((namespace, key)))
    monkeypatch.setattr(internal_kv, "_internal_kv_del", lambda key, namespace: kept.pop((namespace, key), None))
    yield
    assert not kept


def wait_for(said: list[str], text: str) -> None:
    deadline = time.monotonic() + 10
    while said[-1:] != [text]:
        assert time.monotonic() < deadline, said
        time.sleep(0.002)


def test_each_phase_is_shown_once_although_ranks_enter_it_at_different_times() -> None:
    said: list[str] = []
    phases.enter(RUN, phases.TRAINING, "of an earlier command")
    with phases.followed(RUN, lambda text, waiting=None: said.append(text)):
        for order, text in ((phases.BUILDING, "building"), (phases.DATA, "data")):
            phases.enter(RUN, order, text)
            wait_for(said, text)
        phases.enter(RUN, phases.BUILDING, "building")  # a slower rank
        phases.enter(RUN, phases.TRAINING, "training")
        wait_for(said, "training")
    assert said == ["building", "data", "training"]


def test_after_a_lost_worker_the_phases_come_again() -> None:
    said: list[str] = []
    with phases.followed(RUN, lambda text, waiting=None: said.append(text)):
        for order, text in (
            (phases.TRAINING, "training"),
            (phases.LOST, "rank 1 failed"),
            (phases.BUILDING, "building"),
        ):
            phases.enter(RUN, order, text)
            wait_for(said, text)
    assert said == ["training", "rank 1 failed", "building"]


def test_a_store_that_is_away_costs_only_the_line(monkeypatch: pytest.MonkeyPatch) -> None:
    def away(*_: object, **__: object) -> None:
        raise ConnectionError("GCS is gone")

    for name in ("_internal_kv_put", "_internal_kv_get", "_internal_kv_del"):
        monkeypatch.setattr(internal_kv, name, away)
    with phases.followed(RUN, phases.silently):
        phases.enter(RUN, phases.BUILDING, "building")
