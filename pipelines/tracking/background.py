"""MLflow from a thread of its own, so that it can neither delay nor end a run."""

import logging
import threading
import time

from pipelines.storage.address import redact
from pipelines.tracking.replica import MLflowReplica

log = logging.getLogger(__name__)

LONGEST_WAIT_S = 60.0


class BackgroundSync:
    """Syncs a replica from a daemon thread, so that MLflow can neither delay nor end a run.

    A server that does not answer is warned about once and asked again after ever longer waits.
    """

    def __init__(self, replica: MLflowReplica, interval_s: float = 5.0) -> None:
        self.replica = replica
        self._interval_s = interval_s
        self._work = threading.Event()
        self._closing = threading.Event()
        self._final_status: str | None = None
        self._failures = 0
        self._synced = False
        self._thread = threading.Thread(target=self._run, name="mlflow-sync", daemon=True)
        self._thread.start()

    def poke(self) -> None:
        """Says that there may be something new; returns at once."""
        self._work.set()

    def close(self, timeout_s: float = 30.0, status: str | None = None) -> bool:
        """Syncs a last time and stops; `status` also ends the MLflow run. True if MLflow has everything."""
        if not self._closing.is_set():
            self._final_status = status
            self.replica.ended_at = time.time()
            self._closing.set()
            self._work.set()
        self._thread.join(timeout_s)
        done = self._synced and not self._thread.is_alive()
        if not done:
            log.warning("MLflow lacks the end of this run; the run's own files have it all, replay them later")
        return done

    def _run(self) -> None:
        while True:
            self._work.wait()
            self._work.clear()
            closing = self._closing.is_set()
            self._synced = self._attempt(closing)
            if closing:
                return
            if not self._synced:
                self._work.set()
            self._closing.wait(self._wait_s())

    def _attempt(self, closing: bool) -> bool:
        try:
            self.replica.sync(final=closing and self._final_status is not None, status=self._final_status)
        except Exception as error:
            self._failures += 1
            if self._failures == 1:
                reason = redact(f"{type(error).__name__}: {error}")
                log.warning("MLflow does not take this run's metrics; training goes on. %s", reason)
            return False
        if self._failures:
            log.info("MLflow is caught up after %d failed attempts", self._failures)
        self._failures = 0
        return True

    def _wait_s(self) -> float:
        return min(self._interval_s * 2 ** min(self._failures, 10), max(LONGEST_WAIT_S, self._interval_s))
