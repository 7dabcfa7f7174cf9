"""Translates the exceptions of storage libraries to one sentence that names the address, the fault and a remedy.

No sentence contains a credential.
"""

import re
from collections.abc import Iterator
from contextlib import contextmanager

import fsspec
from botocore.exceptions import BotoCoreError

from pipelines.storage.address import bucket_and_key, endpoint_name, is_local, is_s3, s3fs_options, store_name


class StorageError(ValueError):
    """A storage operation failed; the message gives the reason and a remedy."""


class StorageNotFoundError(StorageError, FileNotFoundError):
    """A bucket, folder or file that does not exist."""


class StorageDeniedError(StorageError, PermissionError):
    """Credentials that are missing, wrong, or without the necessary permission."""


class StorageUnreachableError(StorageError, ConnectionError):
    """An object store that does not answer or reports that it is busy; a later attempt may succeed."""


# These match the text of `_chain_text`, one line `Type: message` per exception of the chain, because each client
# wraps the exceptions of the others in its own way.
_NO_CREDENTIALS = re.compile("NoCredentialsError|PartialCredentialsError|TokenRetrievalError")
_UNREACHABLE = re.compile(
    "EndpointConnectionError|ConnectTimeout|ReadTimeout|ConnectionClosed|HTTPClientError|ProxyConnectionError"
    "|ResponseStreamingError|ResponseParserError|IncompleteRead|ServerTimeout|ServerDisconnected|FSTimeoutError"
    "|ClientPayloadError|ClientOSError|ConnectionResetError|BrokenPipeError|NETWORK_CONNECTION|REQUEST_TIMEOUT"
)
_BUSY = re.compile(
    r"An error occurred \((InternalError|ServiceUnavailable|SlowDown|RequestTimeout|429|50[0234])\)"
    r"|AWS Error (INTERNAL_FAILURE|SERVICE_UNAVAILABLE|SLOW_DOWN|THROTTLING)|HTTP status (429|50[0234])"
)
_DENIED = re.compile("ACCESS_DENIED|INVALID_ACCESS_KEY_ID|SIGNATURE_DOES_NOT_MATCH|EXPIRED_TOKEN")
_BAD_BUCKET = re.compile("InvalidBucketName|ParamValidationError: .*[Bb]ucket name", re.DOTALL)
_NOT_FOUND = re.compile("AWS Error (NO_SUCH_KEY|NO_SUCH_BUCKET|RESOURCE_NOT_FOUND)")
_ANSWER = re.compile(r"ClientError: An error occurred \((\w+)\)|AWS Error (\w+(?: \(HTTP status \d+\))?)")


@contextmanager
def explained(url: str) -> Iterator[None]:
    """Turn an exception of a storage library in the block into a StorageError about `url`; let others pass."""
    try:
        yield
    except StorageError:
        raise
    except Exception as error:
        translated = _translated(error, url)
        if translated is None:
            raise
        raise translated from error


def raise_if_bucket_missing(url: str) -> None:
    """Raise StorageNotFoundError if `url` is in an S3 bucket that does not exist."""
    if _bucket_missing(url):
        raise StorageNotFoundError(_missing_bucket_sentence(url))


def is_taken(error: Exception) -> bool:
    """Whether a write that must create a new file failed because the name exists."""
    # s3fs turns only AWS' own form of the answer into FileExistsError.
    return isinstance(error, FileExistsError) or "(PreconditionFailed)" in _chain_text(error)


def _translated(error: Exception, url: str) -> StorageError | None:
    text = _chain_text(error)
    if _NO_CREDENTIALS.search(text):
        way_out = "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE"
        return StorageDeniedError(f"{url}: no complete credentials found; {way_out}")
    if "ProfileNotFound" in text:
        return StorageDeniedError(f"{url}: AWS_PROFILE names a profile that the AWS configuration files do not have")
    if _UNREACHABLE.search(text):
        return StorageUnreachableError(_unreachable_sentence(url))
    if busy := _BUSY.search(text):
        return StorageUnreachableError(_busy_sentence(url, next(filter(None, busy.groups()))))
    if isinstance(error, FileNotFoundError) or _NOT_FOUND.search(text):
        missing_bucket = "NoSuchBucket" in text or _bucket_missing(url)
        return StorageNotFoundError(_missing_bucket_sentence(url) if missing_bucket else f"{url} does not exist")
    if isinstance(error, PermissionError) or _DENIED.search(text):
        return StorageDeniedError(_denied_sentence(url))
    if _BAD_BUCKET.search(text):
        return StorageError(f"{url}: {bucket_and_key(url)[0]!r} is not a valid bucket name; check the address")
    if answer := _ANSWER.search(text):
        return StorageError(f"{url}: the object store at {endpoint_name()} answered {answer[1] or answer[2]}")
    return None


def _chain_text(error: BaseException) -> str:
    parts: list[str] = []
    link: BaseException | None = error
    while link is not None and len(parts) < 8:
        parts.append(f"{type(link).__name__}: {link}")
        link = link.__cause__ or link.__context__
    return "\n".join(parts)


def _unreachable_sentence(url: str) -> str:
    if not is_s3(url):
        return f"{url}: the store does not answer; check the address and that it is running"
    return (
        f"{url}: the object store at {endpoint_name()} does not answer; "
        "check AWS_ENDPOINT_URL and that the store is running"
    )


def _busy_sentence(url: str, answer: str) -> str:
    return f"{url}: {store_name(url)} answers that it is unavailable ({answer}); check its health, or try later"


def _denied_sentence(url: str) -> str:
    if is_local(url):
        return f"{url}: permission denied; this user may not read or write there"
    if not is_s3(url):
        return f"{url}: permission denied; check the credentials"
    return (
        f"{url}: access denied by the object store at {endpoint_name()}; the credentials are wrong, "
        "expired or lack the permission: check AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"
    )


def _missing_bucket_sentence(url: str) -> str:
    bucket, _ = bucket_and_key(url)
    return (
        f"{url}: bucket {bucket!r} does not exist or is not visible with these credentials; "
        "create it or check AWS_ENDPOINT_URL"
    )


def _bucket_missing(url: str) -> bool:
    """Whether the S3 bucket of `url` does not exist; costs a request.

    Called only after a look-up failed, because neither pyarrow nor a HEAD request reports what was missing.
    """
    if not is_s3(url):
        return False
    try:
        fsspec.filesystem("s3", **s3fs_options()).ls(bucket_and_key(url)[0], detail=False)
    except FileNotFoundError:
        return True
    except (OSError, BotoCoreError):
        return False
    return False
