"""Connection to a Ray dashboard: its address, its token, and one-sentence errors."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from ray.exceptions import AuthenticationError
from ray.job_submission import JobSubmissionClient

_FIRST_NODES_S = 15.0
"""A dashboard lists its nodes some seconds after it began to answer."""
_OVERRIDES = ("RAY_API_SERVER_ADDRESS", "RAY_ADDRESS")


@dataclass(frozen=True)
class Token:
    """Shared secret of a cluster and its source; `repr` does not show the value."""

    value: str
    source: str

    def __repr__(self) -> str:
        return f"Token(source={self.source!r})"


def find_token() -> Token | None:
    """Token that Ray would use here, from RAY_AUTH_TOKEN, RAY_AUTH_TOKEN_PATH or ~/.ray/auth_token, in this order.

    None if there is no token or RAY_AUTH_MODE is not `token`. Raises ValueError if the file in RAY_AUTH_TOKEN_PATH cannot be
    read.
    """
    if os.environ.get("RAY_AUTH_MODE", "token").lower() != "token":
        return None
    if value := os.environ.get("RAY_AUTH_TOKEN", "").strip():
        return Token(value, "RAY_AUTH_TOKEN")
    if named := os.environ.get("RAY_AUTH_TOKEN_PATH"):
        return _read_token(Path(named))
    default = Path.home() / ".ray" / "auth_token"
    return _read_token(default) if default.is_file() else None


def _read_token(path: Path) -> Token | None:
    try:
        value = path.read_text().strip()
    except OSError as error:
        raise ValueError(
            f"the token file {path} cannot be read ({error.strerror}); correct RAY_AUTH_TOKEN_PATH"
        ) from None
    return Token(value, str(path)) if value else None


def connect(address: str) -> JobSubmissionClient:
    """Client of the dashboard at `address` (http:// or https://), with the cluster's token if one is found.

    Ray sends a token only if RAY_AUTH_MODE=token when it is imported, so the token is passed as the documented header
    instead. Raises ValueError for an address that is not a URL, ConnectionError if nothing answers there, PermissionError if
    the token is missing or refused.
    """
    if not address.startswith(("http://", "https://")):
        raise ValueError(f"--address={address} is not the URL of a Ray dashboard; write it as http://127.0.0.1:8265")
    token = find_token()
    headers = {"Authorization": f"Bearer {token.value}"} if token else {}
    with explain(address, token), _explicit_address():
        return JobSubmissionClient(address.rstrip("/"), headers=headers)


@contextmanager
def explain(address: str, token: Token | None) -> Iterator[None]:
    """Context that turns Ray's errors about an unreachable or refusing dashboard into one-sentence errors."""
    try:
        yield
    except AuthenticationError:
        raise PermissionError(_refusal(address, token)) from None
    except ConnectionError:
        raise ConnectionError(
            f"nothing answers at {address}; start a cluster on this machine (ray get-auth-token --generate > /dev/null, then "
            "RAY_AUTH_MODE=token ray start --head --block), or one on AWS (ray up ray_cluster.yaml) and the tunnel to its "
            "dashboard (ray dashboard ray_cluster.yaml)"
        ) from None
    except (OSError, ValueError, KeyError, RuntimeError) as error:
        raise ConnectionError(f"what answers at {address} is not a Ray dashboard ({type(error).__name__})") from error


def is_this_machine(client: JobSubmissionClient) -> bool:
    """Whether the cluster consists of this machine alone, so that its jobs reach the files that are here.

    An address on loopback says nothing: it may be a tunnel. A name says little: containers share names; so the machine must
    have the nodes' network address too.
    """
    deadline = time.monotonic() + _FIRST_NODES_S
    while not (nodes := _living_nodes(client)) and time.monotonic() < deadline:
        time.sleep(0.5)
    return bool(nodes) and all(node["hostname"] == socket.gethostname() and _is_ours(node["ip"]) for node in nodes)


def _living_nodes(client: JobSubmissionClient) -> list[dict[str, str]]:
    with explain(client.get_address(), None):
        response = client._do_request("GET", "/nodes", params={"view": "summary"}, timeout=30)
        response.raise_for_status()
        nodes = response.json()["data"]["summary"]
    return [node for node in nodes if node.get("raylet", {}).get("state") == "ALIVE"]


def _is_ours(address: str) -> bool:
    """Whether a network address belongs to this machine."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as probe:
        try:
            probe.bind((address, 0))
        except OSError:
            return False
    return True


def _refusal(address: str, token: Token | None) -> str:
    if token is None:
        return (
            f"the cluster at {address} asks for a token and none was found; "
            "put the cluster's token into ~/.ray/auth_token or name its file in RAY_AUTH_TOKEN_PATH"
        )
    return (
        f"the cluster at {address} refused the token from {token.source}; "
        "use the token that the cluster was started with"
    )


@contextmanager
def _explicit_address() -> Iterator[None]:
    """Context without the environment variables by which Ray would override an explicit address."""
    hidden = {name: os.environ.pop(name) for name in _OVERRIDES if name in os.environ}
    try:
        yield
    finally:
        os.environ.update(hidden)
