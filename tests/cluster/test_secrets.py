"""Secrets are refused on the client, by name and by value, with a way out and without being shown."""

from __future__ import annotations

import argparse

import pytest

from cluster import secrets, submit

PLANTED = "hunter2Xq"


@pytest.mark.parametrize(
    "name, value, way_out",
    [
        ("AWS_SECRET_ACCESS_KEY", PLANTED, "instance profile"),
        ("AWS_ACCESS_KEY_ID", PLANTED, "AWS_SHARED_CREDENTIALS_FILE"),
        ("MLFLOW_TRACKING_PASSWORD", PLANTED, r"~/\.mlflow/credentials"),
        ("MLFLOW_TRACKING_TOKEN", PLANTED, "ray start"),
        ("RAY_AUTH_TOKEN", PLANTED, "RAY_AUTH_TOKEN_PATH"),
        ("wandb_api_key", PLANTED, "secret store"),
        ("HARMLESS", f"https://me:{PLANTED}@mlflow", "secret store"),
        ("HARMLESS", f"s3://bucket?secret_key={PLANTED}", "secret store"),
        ("HARMLESS", "AKIAABCDEFGHIJKLMNOP", "secret store"),
        ("HARMLESS", "-----BEGIN RSA PRIVATE KEY-----", "secret store"),
    ],
)
def test_a_variable_that_holds_a_secret_is_refused(name: str, value: str, way_out: str) -> None:
    with pytest.raises(ValueError, match=f"^--env {name} .* a secret that would be readable .*{way_out}") as refused:
        secrets.refuse(["alae", "train"], {name: value})
    assert value not in str(refused.value)


@pytest.mark.parametrize(
    "argument, named",
    [
        (f"tracking.uri=http://me:{PLANTED}@mlflow", r"tracking\.uri"),
        (f"tracking.uri=postgresql://me:{PLANTED}@db/mlflow", r"tracking\.uri"),
        (f"data.path=s3://bucket/set?X-Amz-Signature={PLANTED}", r"data\.path"),
        (f"tracking.experiment=https://{PLANTED}@host", r"tracking\.experiment"),
        (f"https://me:{PLANTED}@host/experiment.json", "argument 2 of"),
        ("name=ghp_abcdefghij0123456789abcdefghij", "name"),
    ],
)
def test_an_argument_that_holds_a_secret_is_refused_before_the_cluster_is_asked(
    argument: str, named: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(ValueError, match=f"^{named}.* contains a secret .*; leave it out of the address") as refused:
        secrets.refuse(["train", argument], {})
    assert PLANTED not in str(refused.value) and "ghp_" not in str(refused.value)
    parser = argparse.ArgumentParser()
    submit.add_parser(parser.add_subparsers())
    parsed = parser.parse_args(["submit", "debug_x", argument, "--address", "http://127.0.0.1:1"])
    assert parsed.func(parsed) == 2
    assert "contains a secret" in capsys.readouterr().err


def test_places_of_secrets_and_ordinary_settings_pass() -> None:
    variables = {
        "RAY_AUTH_TOKEN_PATH": "/home/me/token",
        "AWS_SHARED_CREDENTIALS_FILE": "/home/me/aws",
        "AWS_ENDPOINT_URL": "http://store:9000",
        "TOKENIZERS_PARALLELISM": "false",
        "KEYBOARD": "us",
        "EMPTY_TOKEN": "",
    }
    arguments = ["name=sk-learn_of_a_long_name_indeed", "data.path=s3://b/k@v", "data.path=abfs://box@account.host/set"]
    secrets.refuse([*arguments, "tracking.uri=http://mlflow:5000", "training.storage=s3://b/a:b@c"], variables)
