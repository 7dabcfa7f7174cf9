"""Secrets that a job would expose: a cluster stores a job's command and variables readable and shows them in its dashboard."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

_SECRET_NAME = re.compile(
    r"SECRET|PASSWORD|PASSWD|PASSPHRASE|CREDENTIAL|APIKEY|(?:^|_)(?:TOKEN|KEY|PWD)(?:_|$)", re.IGNORECASE
)
_PLACE_NAME = re.compile(r"_(?:FILE|PATH|DIR|ROOT|CERT)$", re.IGNORECASE)
"""Names of variables that hold where a secret lies, not the secret."""
_SECRET_VALUE = re.compile(
    r"://[^/@\s]*:[^@\s]*@"  # user:password@ in a URL
    r"|\bhttps?://[^/?#\s@]+@"  # a token as the user of a web address
    r"|[?&](?:[^=&\s]*(?:secret|token|password|signature|credential|access_?key|api_?key)[^=&\s]*|sig)="
    r"|\b(?:AKIA|ASIA)[0-9A-Z]{16}\b"
    r"|-----BEGIN [A-Z ]*PRIVATE KEY"
    r"|\b(?:gh[opsu]_|github_pat_|glpat-|hf_|sk-)[A-Za-z0-9]{20,}"
    r"|\beyJ[\w-]{8,}\.[\w-]{8,}\.",  # a JSON web token
    re.IGNORECASE,
)
_SETTING = re.compile(r"(?:-*)([A-Za-z_][\w.]*)=")
_WAYS_OUT = {
    "AWS_": "give the cluster's machines an instance profile, or --env AWS_SHARED_CREDENTIALS_FILE=FILE with a file on them",
    "MLFLOW_": "put it into ~/.mlflow/credentials on the cluster's machines",
    "RAY_": "name a file on the cluster's machines: --env RAY_AUTH_TOKEN_PATH=FILE",
    "": "keep it in a file or a secret store that the cluster's machines can read",
}
_READABLE = "would be readable in the job's command, variables and logs by all who can use the cluster"


def refuse(entrypoint: Sequence[str], env_vars: Mapping[str, str]) -> None:
    """Raise ValueError for a variable or an argument that is or contains a secret; the message never shows a value."""
    for name, value in env_vars.items():
        named = _SECRET_NAME.search(name) and not _PLACE_NAME.search(name)
        if value and (named or _SECRET_VALUE.search(value)):
            raise ValueError(
                f"--env {name} {'is' if named else 'contains'} a secret that {_READABLE}; {_way_out(name)}"
            )
    for position, argument in enumerate(entrypoint, start=1):
        if _SECRET_VALUE.search(argument):
            setting = _SETTING.match(argument)
            where = setting[1] if setting else f"argument {position} of the job's command"
            name = "MLFLOW_" if where.startswith("tracking.") else ""
            raise ValueError(
                f"{where} contains a secret that {_READABLE}; leave it out of the address and {_way_out(name)}"
            )


def _way_out(name: str) -> str:
    prefix = next(each for each in _WAYS_OUT if name.upper().startswith(each))
    return f"{_WAYS_OUT[prefix]}, or set the variable where the machines run `ray start`: jobs inherit it"
