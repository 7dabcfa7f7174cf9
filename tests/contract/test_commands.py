"""Runs the documented `alae pack` and `alae train` commands of every preset; none is refused."""

import argparse
import re
import shlex
from math import ceil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pipelines import presets
from pipelines.cli import main
from pipelines.experiment.override import override
from pipelines.training import preflight

pytestmark = pytest.mark.slow

DIGITS = ("mnist5k", "mnist.npz")
"""Documented sources whose images have labels; the others are folders without labels."""
SETTING = re.compile(r"[a-z0-9_]+(?:\.[a-z0-9_]+)+=[^\s;]+")
PACK = re.compile(r"alae pack (?P<source><[^>]+>|\S+) (?P<rest>.*?)(?:  |$)")


def lines(name: str) -> list[str]:
    """Lines of the section `Command:` in the preset's docstring."""
    return presets.about(name).command.splitlines()


def packing(name: str) -> list[str]:
    """Arguments of the documented `alae pack` of the preset, or of the preset whose data it shares."""
    place = presets.load(name).data.path
    for other in (name, *presets.names()):
        for found in filter(None, map(PACK.search, lines(other))):
            arguments = [found["source"], *shlex.split(found["rest"])]
            if arguments[1] == place:
                return arguments
    raise AssertionError(f"no preset says how {place} is packed, where {name} reads")


def variants(name: str) -> list[list[str]]:
    """Settings of the command, then of each variant; a line that begins with a setting continues the line before."""
    found: list[list[str]] = []
    for line in lines(name):
        settings = SETTING.findall(line)
        if SETTING.match(line):
            found[-1] += settings
        elif settings or line.startswith("alae train"):
            found.append(settings)
    return found


def picture(rng: np.random.Generator, file: Path, height: int, width: int) -> None:
    """Image of a few large squares, which compresses well."""
    squares = rng.integers(0, 256, (4, 4, 3), np.uint8)
    file.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(squares).resize((width, height), Image.Resampling.NEAREST).save(file)


def source(folder: Path, kind: str, options: argparse.Namespace) -> list[str]:
    """A small source for the command, with enough images for one held-out image, at least 4."""
    rng, count, side = np.random.default_rng(0), max(4, ceil(1 / (options.validation or 1))), options.resolution
    if kind in DIGITS:
        digits = rng.integers(0, 256, (count, 28, 28), np.uint8)
        np.savez(folder / "digits.npz", images=digits, labels=np.arange(count) % 10)
        return [str(folder / "digits.npz")]
    below, width = {
        "folders": (("trainA", "trainB", "testA", "testB"), side),
        "side_by_side": (("train", "val"), 2 * side),
    }.get(options.domains, (("images",), side))
    for name in (*below, *(("second",) if options.second else ())):
        for number in range(count):
            picture(rng, folder / name / f"{number}.png", side, width)
    if options.second:
        return [str(folder / "images"), "--second", str(folder / "second")]
    return [str(folder if options.domains else folder / "images")]


@pytest.fixture(scope="module")
def packed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Command -> folder of the dataset that it has made."""
    return {}


def dataset(name: str, made: dict[str, str], folder: Path) -> str:
    """The dataset of the preset's documented command, packed once per session."""
    kind, _, *rest = packing(name)
    key = shlex.join(["digits" if kind in DIGITS else "folder", *rest])
    if key not in made:
        parser = argparse.ArgumentParser()
        parser.add_argument("--resolution", type=int, required=True)
        parser.add_argument("--validation", type=float, default=0.0)
        for option in ("--domains", "--second"):
            parser.add_argument(option)
        options, others = parser.parse_known_args(rest)
        split = [] if not options.validation else ["--validation", str(options.validation)]
        domains = [] if not options.domains else ["--domains", options.domains]
        given = source(folder, kind, options)
        shape = ["--resolution", str(options.resolution), *split, *domains, *others]
        assert main.main(["pack", given[0], f"{folder}/packed", *given[1:], *shape, "--executor", "here"]) == 0
        made[key] = f"{folder}/packed"
    return made[key]


@pytest.mark.parametrize("name", presets.names())
def test_the_documented_command_of_a_preset_is_refused_by_nothing(
    name: str, packed: dict[str, str], tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp(name)
    place = dataset(name, packed, folder)
    settings = variants(name)
    assert settings[0] == [] and lines(name)[0] == f"alae train {name}"
    for variant in settings:
        asked = override(presets.load(name), variant)
        preflight.check(override(asked, [f"data.path={place}", f"training.storage={folder}/runs"]))


def test_the_variants_of_a_command_are_its_settings_line_by_line() -> None:
    assert variants("celebahq1024_intro_vae") == [
        [],
        [
            "algorithm.loss.margin=90",
            "algorithm.loss.reconstruction_weight=0.00125",
            "algorithm.loss.generator_weight=0.25",
        ],
    ]
    assert variants("celeba128_style_alae")[1] == ["scaling.workers=1"]
