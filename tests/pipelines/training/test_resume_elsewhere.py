"""A run resumes after its files have moved: the weights and checkpoints it began with are identified by content."""

import json
import shutil
from pathlib import Path

import pytest
import torch

from pipelines import presets, storage
from pipelines.data.domains import open_datasets
from pipelines.experiment import Experiment
from pipelines.experiment.override import override
from pipelines.runs import layout
from pipelines.runs.run import Run
from pipelines.training import preflight, trainer
from tests.pipelines.evaluation.test_pretrained import stored
from tests.support import tiny
from tests.support.packed import pack_two_domains

CHANGED = "is not the file that the run 'run' began with"


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(pack_two_domains(tmp_path_factory.mktemp("pair"), (12, 12), 16, validation_fraction=0.25))


def experiment(tmp_path: Path, pair: str, *changes: str) -> Experiment:
    wide = ["algorithm.resolution=16", "schedule.resolutions=16", "evaluation.enabled=false"]
    place = [f"data.path={pair}", f"training.storage={tmp_path}/runs", "name=run"]
    return override(tiny.brief(presets.load("debug_edges2shoes256_munit")), [*wide, *place, *changes])


def claim(asked: Experiment) -> Run:
    """Claim the run as `train` does before it starts anything, and save a checkpoint, so that it is never set aside."""
    run = Run.of(asked)
    run.claim(asked, open_datasets(asked.data.path, asked.domains), preflight.file_digests(asked))
    storage.write_json_verified(f"{run.url}/{layout.checkpoint_name(8)}/{layout.MANIFEST}", {})
    return run


def weights(path: Path, value: float = 1.0) -> str:
    """Write a file of weights and return its URL. Torch saves the file's name in it, so all are saved under one and moved."""
    path.parent.mkdir(exist_ok=True)
    draft = path.with_name("draft")
    mark = stored(draft, {"a": torch.full((2,), value)}).removeprefix(str(draft))
    return f"{draft.rename(path)}{mark}"


def test_weights_may_lie_elsewhere_and_must_be_the_same_file(tmp_path: Path, pair: str) -> None:
    begun = experiment(tmp_path, pair, f"training.vgg16_weights={weights(tmp_path / 'here.pth')}")
    run = claim(begun)
    kept = json.loads(Path(run.url, layout.FILES).read_text())
    assert list(kept) == ["training.vgg16_weights"] and len(kept["training.vgg16_weights"]) == 64
    moved = override(begun, [f"training.vgg16_weights={weights(tmp_path / 'elsewhere' / 'other.pth')}"])
    claim(moved)
    for path in ("third.pth", "here.pth"):
        other = override(begun, [f"training.vgg16_weights={weights(tmp_path / path, 2.0)}"])
        with pytest.raises(
            ValueError, match=rf"^training\.vgg16_weights=.*{path}.* {CHANGED} .*; give that file, from any"
        ):
            claim(other)
    without = override(begun, ["training.vgg16_weights=null"])
    with pytest.raises(ValueError, match=r"training\.vgg16_weights: .* -> null"):
        claim(without)


def test_a_run_of_before_takes_weights_from_any_place_and_keeps_to_them(tmp_path: Path, pair: str) -> None:
    begun = experiment(tmp_path, pair, f"training.vgg16_weights={weights(tmp_path / 'a.pth')}")
    run = claim(begun)
    Path(run.url, layout.FILES).unlink()
    claim(override(begun, [f"training.vgg16_weights={weights(tmp_path / 'b.pth', 2.0)}"]))
    with pytest.raises(ValueError, match=CHANGED):
        claim(begun)


def test_weights_that_are_not_what_they_say_are_refused_before_the_run_is_claimed(tmp_path: Path, pair: str) -> None:
    asked = experiment(tmp_path, pair, f"training.vgg16_weights={weights(tmp_path / 'a.pth')}")
    (tmp_path / "a.pth").write_bytes(b"cut off")
    with pytest.raises(ValueError, match=r"training\.vgg16_weights=.*a\.pth has the SHA-256 .*; fetch it again"):
        trainer.train(asked)
    assert not Path(Run.of(asked).url).exists()


def test_the_checkpoint_that_a_run_began_from_may_be_moved_or_deleted_and_not_exchanged(
    tmp_path: Path, pair: str
) -> None:
    base = experiment(tmp_path, pair)
    first, second = tiny.build(base), tiny.build(base, seed=1)
    url = tiny.checkpointed(tmp_path / "first", first, base)
    other = tiny.checkpointed(tmp_path / "second", second, base)
    begun = override(base, [f"training.init_from={url}"])
    claim(begun)
    moved = override(base, [f"training.init_from={shutil.copytree(url, tmp_path / 'moved')}"])
    claim(moved)
    for place in (other, tmp_path / "nowhere"):
        with pytest.raises(ValueError, match=rf"^training\.init_from={place} {CHANGED}"):
            claim(override(base, [f"training.init_from={place}"]))
    shutil.rmtree(url)
    claim(begun)
    with pytest.raises(ValueError, match=r"training\.init_from: .* -> null"):
        claim(base)


def test_a_run_begins_from_the_newest_checkpoint_of_another_run_and_keeps_to_it(tmp_path: Path, pair: str) -> None:
    base = experiment(tmp_path, pair)
    source = tmp_path / "source"
    first = tiny.checkpointed(source, tiny.build(base), base)
    begun = override(base, [f"training.init_from={source}"])
    run = Run.of(begun)
    assert run.with_start(begun).training.init_from == str(first)
    claim(run.with_start(begun))
    shutil.copytree(first, source / layout.checkpoint_name(800))
    claim(run.with_start(begun))
    assert run.with_start(begun).training.init_from == str(first)
    shutil.rmtree(source)
    claim(run.with_start(begun))
