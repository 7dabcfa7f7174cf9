"""The parts of submitting that need no cluster: what is uploaded, environment, tokens, following across breaks."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace

import pytest

from cluster import working_dir
from cluster.client import connect, find_token
from cluster.submit import JobResult, follow_job, read_env


@pytest.fixture(autouse=True)
def _no_token_of_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("RAY_AUTH_MODE", "RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"):
        monkeypatch.delenv(name, raising=False)


def test_an_address_that_is_no_url_is_refused_before_anything_is_contacted() -> None:
    with pytest.raises(ValueError, match=r"--address=127\.0\.0\.1:6379 is not the URL"):
        connect("127.0.0.1:6379")


def test_a_working_directory_that_is_too_large_names_its_largest_entries(tmp_path: Path) -> None:
    for name, size in {"big": 3000, "bigger": 5000, "runs": 90_000, "small": 10}.items():
        (tmp_path / name).mkdir()
        (tmp_path / name / "file").write_bytes(bytes(size))
    assert working_dir.sizes(tmp_path, working_dir.DEFAULT_EXCLUDES) == {
        "big": 3000,
        "bigger": 5000,
        "small": 10,
    }
    with pytest.raises(ValueError, match=r"bigger \(0\.0 MiB\), big .*\.rayignore"):
        working_dir.check(str(tmp_path), working_dir.DEFAULT_EXCLUDES, limit=8000)
    working_dir.check(str(tmp_path), working_dir.DEFAULT_EXCLUDES, limit=9000)


def test_only_the_data_folder_at_the_root_stays_behind(tmp_path: Path) -> None:
    for folder in ("data", "pipelines/data"):
        (tmp_path / folder).mkdir(parents=True)
        (tmp_path / folder / "file.py").write_text("1")
    assert working_dir.sizes(tmp_path, working_dir.DEFAULT_EXCLUDES) == {"pipelines": 1}


def test_a_project_without_our_packages_gets_them_whole_and_ours_gets_none(tmp_path: Path) -> None:
    root = Path(__file__).parents[2]
    assert [Path(each).name for each in working_dir.packages(str(tmp_path))] == list(working_dir.PACKAGES)
    assert working_dir.packages(str(root)) == []
    pipelines = working_dir.sizes(root / "pipelines", working_dir.PACKAGE_EXCLUDES)
    assert {"data", "runs", "training"} <= pipelines.keys() and "__pycache__" not in pipelines


def test_a_preset_file_is_named_as_the_job_finds_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("mine.py", "presets/mine.json", "runs/one/experiment.json"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("1")
    monkeypatch.chdir(tmp_path / "presets")

    def named(text: str) -> str:
        return working_dir.preset(text, str(tmp_path), working_dir.DEFAULT_EXCLUDES)

    assert [named(text) for text in ("debug_x", "s3://b/e.json")] == ["debug_x", "s3://b/e.json"]
    assert named(f"{tmp_path}/mine.py") == named("../mine.py") == "mine.py"
    assert named("mine.json") == "presets/mine.json"
    with pytest.raises(ValueError, match=r"absent\.py is not there; give a preset's name or the path of"):
        named("absent.py")
    with pytest.raises(ValueError, match=r"one/experiment\.json does not travel with --working-dir=.*copy it beside"):
        named("../runs/one/experiment.json")
    with pytest.raises(ValueError, match=r"lies outside of --working-dir=\.; give the folder that holds it"):
        working_dir.preset("../mine.py", ".", ())


def test_a_working_directory_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="nowhere is not a folder"):
        working_dir.check(str(tmp_path / "nowhere"), ())


def test_env_takes_values_given_and_values_from_here(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FROM_HERE", "b=c")
    assert read_env(["GIVEN=a=b", "FROM_HERE", "EMPTY="]) == {"GIVEN": "a=b", "FROM_HERE": "b=c", "EMPTY": ""}


@pytest.mark.parametrize("pair", ["=s3cret", "s3cret-key", "1s3cret=x", "", "A B=s3cret"])
def test_a_malformed_env_is_refused_without_showing_it(pair: str) -> None:
    with pytest.raises(ValueError, match="--env number 2") as refused:
        read_env(["FINE=1", pair])
    assert "s3cret" not in str(refused.value)


def test_an_env_that_is_not_set_here_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ABSENT", raising=False)
    with pytest.raises(ValueError, match="--env ABSENT: ABSENT is not set here"):
        read_env(["ABSENT"])


def test_a_token_is_found_where_ray_looks_for_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    assert find_token() is None
    (tmp_path / ".ray").mkdir()
    (tmp_path / ".ray" / "auth_token").write_text("default\n")
    assert _value() == "default"
    (tmp_path / "named").write_text("named")
    monkeypatch.setenv("RAY_AUTH_TOKEN_PATH", str(tmp_path / "named"))
    assert _value() == "named"
    monkeypatch.setenv("RAY_AUTH_TOKEN", "direct")
    assert _value() == "direct" and "direct" not in repr(find_token())
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")
    assert find_token() is None


def _value() -> str | None:
    token = find_token()
    return token.value if token else None


def test_a_token_file_that_cannot_be_read_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_AUTH_TOKEN_PATH", str(tmp_path / "gone"))
    with pytest.raises(ValueError, match="gone cannot be read"):
        find_token()


@dataclass
class _FlakyClient:
    """Replays a log from its start on every connection and breaks off after so many characters."""

    log: str
    breaks: list[int]
    ends: str = "SUCCEEDED"
    connections: list[str] = field(default_factory=list)

    async def tail_job_logs(self, job: str) -> AsyncIterator[str]:
        self.connections.append(job)
        stop = self.breaks.pop(0) if self.breaks else None
        text = self.log[:stop]
        for at in range(0, len(text), 3):
            yield text[at : at + 3]
        if stop is not None:
            raise RuntimeError("WebSocket connection closed unexpectedly")

    def get_job_info(self, job: str) -> SimpleNamespace:
        status = SimpleNamespace(value=self.ends, is_terminal=lambda: self.ends != "RUNNING")
        return SimpleNamespace(status=status, driver_exit_code=0, message=None)


def test_a_log_that_breaks_off_is_continued_without_a_gap_or_a_repeat() -> None:
    client = _FlakyClient("0123456789" * 3, breaks=[4, 4, 17])
    seen: list[str] = []
    result = follow_job(client, "job", seen.append, wait_s=0)  # type: ignore[arg-type]
    assert "".join(seen) == "0123456789" * 3
    assert result == JobResult("job", "SUCCEEDED", 0) and len(client.connections) == 4


def test_a_connection_that_stays_lost_is_given_up_after_the_attempts_allowed() -> None:
    client = _FlakyClient("0123", breaks=[2] * 10)
    with pytest.raises(ConnectionError, match="lost the connection"):
        follow_job(client, "job", lambda text: None, reconnects=3, wait_s=0)  # type: ignore[arg-type]
    assert len(client.connections) == 5


def test_a_reader_of_the_log_that_fails_is_not_taken_for_a_lost_connection() -> None:
    def closed(text: str) -> None:
        raise BrokenPipeError

    client = _FlakyClient("0123", breaks=[])
    with pytest.raises(BrokenPipeError):
        follow_job(client, "job", closed, wait_s=0)  # type: ignore[arg-type]
    assert len(client.connections) == 1


@pytest.mark.parametrize(
    "result, status",
    [
        (JobResult("j", "SUCCEEDED", 0), 0),
        (JobResult("j", "PENDING"), 0),
        (JobResult("j", "FAILED", 7), 7),
        (JobResult("j", "FAILED", -9), 137),
        (JobResult("j", "FAILED"), 1),
        (JobResult("j", "STOPPED"), 1),
    ],
)
def test_the_exit_status_is_the_drivers_where_there_is_one(result: JobResult, status: int) -> None:
    assert result.exit_status == status
