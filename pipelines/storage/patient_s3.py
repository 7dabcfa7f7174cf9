"""pyarrow's S3 filesystem with the right endpoint and with retries that last longer than a store's restart."""

from typing import Any

import pyarrow.fs
from pyarrow.fs import AwsDefaultS3RetryStrategy, S3FileSystem

from pipelines.storage.address import bucket_and_key, endpoint_url, prepare_s3
from pipelines.storage.patience import patience_s, patiently

PATIENT_ATTEMPTS = 12
"""Number of attempts; their waits of 25 ms, 50 ms and so on add up to 102 s, independent of the number of waiting
threads (benchmarks/store_patience.py)."""
IMPATIENT_ATTEMPTS = 6


class PatientS3(S3FileSystem):
    """An S3FileSystem that keeps its retry strategy when it is pickled; pyarrow's own loses it.

    The pickle contains no credentials: each process takes them from its own environment.
    """

    def __reduce__(self) -> tuple[Any, ...]:
        _, (options,) = super().__reduce__()
        return _patient, (options,)


def s3_filesystem(url: str) -> S3FileSystem:
    """The filesystem for the bucket of `url`, at the endpoint set by the environment or the profile.

    It retries by itself: PATIENT_ATTEMPTS times, or IMPATIENT_ATTEMPTS times if `patience_s` is 0 now.
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
