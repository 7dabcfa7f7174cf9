"""What a storage address means: this machine, S3 or another fsspec store, and which endpoint answers."""

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
    """Whether `url` is a path of this machine, plain or as `file://`."""
    return "://" not in url or url.startswith("file://")


def is_s3(url: str) -> bool:
    """Whether `url` is `s3://...`."""
    return url.startswith("s3://")


def local_path(url: str) -> Path:
    """The absolute path behind a local `url`, with `~` expanded."""
    return Path(url.removeprefix("file://")).expanduser().absolute()


def bucket_and_key(url: str) -> tuple[str, str]:
    """`s3://bucket/a/b/` -> ("bucket", "a/b")."""
    bucket, _, key = url.removeprefix("s3://").partition("/")
    return bucket, key.strip("/")


def join(url: str, *parts: str) -> str:
    """`url` continued by `parts` with single slashes."""
    return "/".join([url.rstrip("/"), *parts])


def endpoint_url() -> str | None:
    """The S3 endpoint that the environment or the AWS profile names, None for the default one.

    Clients disagree on where they look: pyarrow ignores the profile, and outside of `from_uri` the environment too.
    Raises botocore's ProfileNotFound.
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
    """The S3 endpoint for a message: without any user name or password."""
    url = endpoint_url()
    return re.sub("//[^/@]*@", "//", url) if url else "its default address (AWS_ENDPOINT_URL is not set)"


def store_name(url: str) -> str:
    """The store behind `url` for a message."""
    return f"the object store at {endpoint_name()}" if is_s3(url) else f"the store of {url.partition('://')[0]}://"


def prepare_s3() -> None:
    """Sets what S3 clients must find in the environment before they are built."""
    # Newer clients send uploads in checksummed chunks by default, which older stores refuse (HTTP 411) or
    # store with the chunk framing inside the object.
    os.environ.setdefault("AWS_REQUEST_CHECKSUM_CALCULATION", "when_required")


def s3fs_options() -> dict[str, Any]:
    """Arguments for s3fs; credentials and region are left to the environment."""
    prepare_s3()
    return {
        # fsspec caches instances by their arguments: naming the endpoint keeps two endpoints apart.
        "endpoint_url": endpoint_url(),
        # Cached listings would hide what other processes write.
        "use_listings_cache": False,
        # About 3 s for a refused connection; s3fs' default of 5 takes 10 s, and longer waits are storage_patience's.
        "config_kwargs": {"retries": {"mode": "standard", "total_max_attempts": 3}},
    }


def holds_credentials(url: str) -> bool:
    """Whether the address itself carries a password or a secret key."""
    if "://" not in url:
        return False
    parts = urllib.parse.urlsplit(url)
    return ":" in parts.netloc.rpartition("@")[0] or "secret_key" in parts.query


def redact(text: str) -> str:
    """The text without the credentials of any URL in it."""
    text = re.sub(r"://[^/\s]*@", "://***@", text)
    return re.sub(r"(?i)([?&](?:password|token|\w*secret\w*|access_key\w*)=)[^&\s'\"]+", r"\1***", text)


def absolute_uri(uri: str, cwd: str | os.PathLike[str]) -> str:
    """The tracking URI with a relative sqlite file, or a relative folder, resolved against `cwd`."""
    sqlite = re.match(r"(sqlite(?:\+\w+)?:///)(?!/)(.+)", uri)
    if sqlite:
        return f"{sqlite[1]}{os.path.normpath(os.path.join(os.path.abspath(cwd), sqlite[2]))}"
    if ":" in uri or uri.startswith("databricks"):
        return uri
    return os.path.normpath(os.path.join(os.path.abspath(cwd), uri))
