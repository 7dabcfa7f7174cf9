"""pyarrow's S3 filesystem as it must be made: at the right endpoint, with retries that outlast a store's restart."""

from typing import Any

import pyarrow.fs
from pyarrow.fs import AwsDefaultS3RetryStrategy, S3FileSystem

from pipelines.storage.address import bucket_and_key, endpoint_url, prepare_s3
from pipelines.storage.patience import patience_s, patiently

PATIENT_ATTEMPTS = 12
"""Their waits of 25 ms, 50 ms, ... are 102 s together, however many threads wait (benchmarks/store_patience.py)."""
IMPATIENT_ATTEMPTS = 6


class PatientS3(S3FileSystem):
    """Keeps its retries when it is sent to another process; pyarrow's own forgets them.

    Nor does it carry credentials there: each process takes its own from its environment.
    """

    def __reduce__(self) -> tuple[Any, ...]:
        _, (options,) = super().__reduce__()
        return _patient, (options,)


def s3_filesystem(url: str) -> S3FileSystem:
    """The filesystem for the bucket of `url`, at the endpoint that the environment or the profile names.

    It retries by itself, as long as the patience of the moment says.
    """
    if patience_s():
        return _patient(_place(url))
    return S3FileSystem(**_place(url), retry_strategy=AwsDefaultS3RetryStrategy(IMPATIENT_ATTEMPTS))


@patiently
def _place(url: str) -> dict[str, Any]:
    prepare_s3()
    if endpoint := endpoint_url():
        return {"endpoint_override": endpoint}
    return {"region": pyarrow.fs.resolve_s3_region(bucket_and_key(url)[0])}


def _patient(options: dict[str, Any]) -> PatientS3:
    prepare_s3()
    return PatientS3(**options, retry_strategy=AwsDefaultS3RetryStrategy(PATIENT_ATTEMPTS))
