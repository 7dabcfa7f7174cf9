"""How long S3 clients retry a store that does not answer, and how soon a check reports it.

`python benchmarks/store_patience.py` prints a Markdown table in about three minutes, which it spends mostly waiting.
"""

import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress

from pyarrow.fs import AwsDefaultS3RetryStrategy, AwsStandardS3RetryStrategy, S3FileSystem

from pipelines import storage
from pipelines.storage.patient_s3 import PATIENT_ATTEMPTS

CASES = [
    *[(AwsStandardS3RetryStrategy, attempts, threads) for attempts in (3, 13) for threads in (1, 8, 16)],
    *[(AwsDefaultS3RetryStrategy, attempts, threads) for attempts in (10, PATIENT_ATTEMPTS) for threads in (1, 16)],
]


@contextmanager
def away(silent: bool) -> Iterator[str]:
    """Address of a store that refuses connections, or accepts them and never answers."""
    with socket.socket() as store:
        store.bind(("127.0.0.1", 0))
        taken: list[socket.socket] = []

        def take() -> None:
            with suppress(OSError):
                while True:
                    taken.append(store.accept()[0])

        if silent:
            store.listen(100)
            threading.Thread(target=take, daemon=True).start()
        yield f"http://127.0.0.1:{store.getsockname()[1]}"


def seconds(ask: Callable[[], object]) -> float:
    """Seconds until `ask` raises."""
    began = time.monotonic()
    with suppress(OSError):
        ask()
    return time.monotonic() - began


def endured(strategy: type, attempts: int, threads: int, silent: bool) -> str:
    """Shortest and longest time in seconds that pyarrow retried, over threads that share one filesystem."""
    with away(silent) as endpoint, ThreadPoolExecutor(threads) as pool:
        fs = S3FileSystem(endpoint_override=endpoint, retry_strategy=strategy(attempts))
        found = sorted(pool.map(lambda _: seconds(lambda: fs.get_file_info("bucket/key")), range(threads)))
    return f"{found[0]:.0f} to {found[-1]:.0f}"


def checked(silent: bool) -> str:
    """Seconds until a check on the driver says that the store does not answer."""
    with away(silent) as endpoint, storage.patience(0):
        os.environ["AWS_ENDPOINT_URL"] = endpoint
        return f"{seconds(lambda: storage.check_writable('s3://bucket/runs')):.0f}"


def main() -> None:
    """Measure all cases at the same time, because they only wait."""
    os.environ.update(AWS_ACCESS_KEY_ID="key", AWS_SECRET_ACCESS_KEY="secret", AWS_DEFAULT_REGION="us-east-1")
    with ThreadPoolExecutor(2 * len(CASES)) as pool:
        refused = [pool.submit(endured, *case, silent=False) for case in CASES]
        silent = [pool.submit(endured, *case, silent=True) for case in CASES if case[1] == PATIENT_ATTEMPTS]
        print("| client | threads | store | seconds |\n|---|---|---|---|")
        for (strategy, attempts, threads), result in zip(CASES, refused, strict=True):
            print(f"| {strategy.__name__}({attempts}) | {threads} | refuses | {result.result()} |")
        for threads, result in zip((1, 16), silent, strict=True):
            print(f"| AwsDefaultS3RetryStrategy({PATIENT_ATTEMPTS}) | {threads} | is silent | {result.result()} |")
    print(f"| storage.check_writable, no patience | 1 | refuses | {checked(silent=False)} |")
    print(f"| storage.check_writable, no patience | 1 | is silent | {checked(silent=True)} |")


if __name__ == "__main__":
    main()
