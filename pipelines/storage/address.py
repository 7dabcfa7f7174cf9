"""Parsing of storage addresses: a local path, S3 or another fsspec store, and the S3 endpoint in use."""

import os
import re
import urllib.parse
from functools import lru_cache
from pathlib import Path
from typing import Any

import botocore.session

ENDPOINT_VARIABLES = ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL")
PROFILE_VARIABLES = ("AWS_PROFILE", "AWS_DEFAULT_PROFILE", "AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE")


def is_local(url: str) -> bool:
    """Whether `url` is a path on this machine, with or without `file://`."""
    return "://" not in url or url.startswith("file://")


def is_s3(url: str) -> bool:
    """Whether `url` is `s3://...`."""
    return url.startswith("s3://")


def local_path(url: str) -> Path:
    """The absolute path of a local `url`, with `~` expanded."""
    return Path(url.removeprefix("file://")).expanduser().absolute()


def bucket_and_key(url: str) -> tuple[str, str]:
    """Split `s3://bucket/a/b/` into ("bucket", "a/b")."""
    bucket, _, key = url.removeprefix("s3://").partition("/")
    return bucket, key.strip("/")


def join(url: str, *parts: str) -> str:
    """`url` and `parts` joined by single slashes."""
    return "/".join([url.rstrip("/"), *parts])


def endpoint_url() -> str | None:
    """The S3 endpoint set by the environment or the AWS profile; None for the default endpoint.

    Every client gets this endpoint, because clients look in different places by themselves: pyarrow ignores the
    profile, and outside of `from_uri` the environment too. Raises botocore's ProfileNotFound.
    """
    named = next(filter(None, map(os.environ.get, ENDPOINT_VARIABLES)), None)
    return named or _profile_endpoint(*map(os.environ.get, PROFILE_VARIABLES))


@lru_cache
def _profile_endpoint(*variables: str | None) -> str | None:
    session = botocore.session.Session()
    profile = session.get_scoped_config()
    services = session.full_config.get("services", {}).get(profile.get("services"), {})
    return services.get("s3", {}).get("endpoint_url") or profile.get("endpoint_url")


def endpoint_name() -> str:
    """The S3 endpoint for use in a message, without user name and password."""
    url = endpoint_url()
    return re.sub("//[^/@]*@", "//", url) if url else "its default address (AWS_ENDPOINT_URL is not set)"


def store_name(url: str) -> str:
    """The store of `url` for use in a message."""
    return f"the object store at {endpoint_name()}" if is_s3(url) else f"the store of {url.partition('://')[0]}://"


def prepare_s3() -> None:
    """Set the environment variables that S3 clients read when they are built."""
    # By default newer clients send uploads in checksummed chunks. Older stores refuse these (HTTP 411) or store the
    # chunk framing inside the object.
    os.environ.setdefault("AWS_REQUEST_CHECKSUM_CALCULATION", "when_required")


def s3fs_options() -> dict[str, Any]:
    """Arguments for s3fs; it takes credentials and region from the environment."""
    prepare_s3()
    return {
        # fsspec caches instances by their arguments, so the endpoint must be one of them.
        "endpoint_url": endpoint_url(),
        # Cached listings would hide what other processes write.
        "use_listings_cache": False,
        # A refused connection takes about 3 s; with s3fs' default of 5 attempts 10 s. `patience` does longer waits.
        "config_kwargs": {"retries": {"mode": "standard", "total_max_attempts": 3}},
    }


def holds_credentials(url: str) -> bool:
    """Whether the address itself contains a password or a secret key."""
    if "://" not in url:
        return False
    parts = urllib.parse.urlsplit(url)
    return ":" in parts.netloc.rpartition("@")[0] or "secret_key" in parts.query


def redact(text: str) -> str:
    """`text` with the credentials in its URLs replaced by `***`."""
    text = re.sub(r"://[^/\s]*@", "://***@", text)
    return re.sub(r"(?i)([?&](?:password|token|\w*secret\w*|access_key\w*)=)[^&\s'\"]+", r"\1***", text)


def absolute_uri(uri: str, cwd: str | os.PathLike[str]) -> str:
    """The tracking URI with a relative SQLite file or a relative folder resolved against `cwd`."""
    sqlite = re.match(r"(sqlite(?:\+\w+)?:///)(?!/)(.+)", uri)
    if sqlite:
        return f"{sqlite[1]}{os.path.normpath(os.path.join(os.path.abspath(cwd), sqlite[2]))}"
    if ":" in uri or uri.startswith("databricks"):
        return uri
    return os.path.normpath(os.path.join(os.path.abspath(cwd), uri))
