"""The benchmark of the VAEs on small images: what it scores, draws and tabulates."""

import math
import runpy
import sys
from pathlib import Path

import numpy as np
import pytest

pytestmark = pytest.mark.slow

FOLDER = Path(__file__).parents[2] / "benchmarks"
PRESET = "debug_mnist32_intro_vae"
IMAGES = 2600
"""Enough for pairs of training images, with 500 held out."""


def _run(script: str, arguments: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(FOLDER))
    monkeypatch.setattr(sys, "argv", [script, *arguments])
    runpy.run_path(str(FOLDER / script), run_name="__main__")


def test_a_run_scores_and_draws_its_averaged_networks_and_its_table_has_the_last_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    data, out = tmp_path / "digits.npz", tmp_path / "out"
    rng = np.random.default_rng(0)
    np.savez(data, images=rng.integers(0, 256, (IMAGES, 6, 6), np.uint8), labels=np.arange(IMAGES) % 10)
    given = ["--preset", PRESET, "--data", str(data), "--out", str(out), "--every-kimg", "0.08"]
    _run("intro_vae.py", [*given, "schedule.stable_kimg=0.1"], monkeypatch)
    capsys.readouterr()
    _run("intro_vae_table.py", [str(out)], monkeypatch)
    title, _, row, *_, last = capsys.readouterr().out.splitlines()
    found = dict(zip(title.split(" | "), row.split(" | "), strict=True))
    assert found["overrides"] == "schedule.stable_kimg: 0.16 -> 0.1"
    numbers = {name: float(cell.strip(" |")) for name, cell in found.items() if name not in ("| run", "overrides")}
    assert all(math.isfinite(number) for number in numbers.values()) and len(numbers) == len(found) - 2
    assert 0 <= numbers["MS-SSIM"] <= 1 and 0 <= numbers["class kept"] <= 1 and numbers["FD"] > 0
    assert last.startswith("| 0.1 |")
    pages = {path.name.removeprefix(f"{PRESET}_") for path in out.glob("*.png")}
    assert pages == {"samples.png", "reconstructions.png", "interpolations.png", "kl.png"}
