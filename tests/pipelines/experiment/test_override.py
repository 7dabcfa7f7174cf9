"""Overrides as text: values are read by type, errors have a remedy; and fields that a resume may change."""

import json
from dataclasses import replace
from typing import Any

import pytest

from alae_core.algorithms import alae, style_alae
from alae_core.schedule import ProgressiveSchedule
from pipelines.experiment import DataConfig, EvaluationConfig, Experiment, ScalingConfig, TrackingConfig, TrainingConfig
from pipelines.experiment.override import differences, override, resume_differences


@pytest.fixture
def experiment() -> Experiment:
    return Experiment(
        name="faces",
        algorithm=style_alae.Config(resolution=16, channels=3, latent=8),
        schedule=ProgressiveSchedule(
            resolutions=(4, 8, 16),
            stable_kimg=(1.0, 2.0),
            fade_kimg=(0.0, 0.5),
            batch_size=(64, 32),
            lr=(0.001,),
        ),
        data=DataConfig(path="data/faces"),
    )


def refusal(experiment: Experiment, *assignments: str) -> str:
    with pytest.raises(ValueError) as caught:
        override(experiment, assignments)
    return str(caught.value)


class TestOverride:
    @pytest.mark.parametrize(
        ("assignment", "path", "value"),
        [
            ("seed=7", "seed", 7),
            ("name=a=b", "name", "a=b"),
            ("training.ema_half_life_kimg=1e-3", "training.ema_half_life_kimg", 0.001),
            ("training.tick_kimg=3", "training.tick_kimg", 3.0),
            ("training.optimizer.beta2=0.9", "training.optimizer.beta2", 0.9),
            ("data.flip=true", "data.flip", True),
            ("evaluation.enabled=false", "evaluation.enabled", False),
            ("training.microbatch=4,2", "training.microbatch", (4, 2)),
            ("training.init_from=s3://b/run", "training.init_from", "s3://b/run"),
            ("tracking.uri=none", "tracking.uri", None),
            ("tracking.uri=null", "tracking.uri", None),
            ("training.precision=bf16", "training.precision", "bf16"),
            ("schedule.batch_size=64,32,16", "schedule.batch_size", (64, 32, 16)),
            ("schedule.batch_size=[64, 32]", "schedule.batch_size", (64, 32)),
            ("schedule.batch_size=(16,)", "schedule.batch_size", (16,)),
            ("schedule.lr=1e-3,2e-3", "schedule.lr", (0.001, 0.002)),
            ("schedule.fade=linear", "schedule.fade", "linear"),
            ("algorithm.loss.r1_every=4", "algorithm.loss.r1_every", 4),
            (" seed = 7 ", "seed", 7),
        ],
    )
    def test_text_is_read_by_the_type_of_the_field(
        self, experiment: Experiment, assignment: str, path: str, value: Any
    ) -> None:
        node: Any = override(experiment, [assignment])
        for name in path.split("."):
            node = getattr(node, name)
        assert node == value and type(node) is type(value)

    def test_an_override_changes_that_field_alone(self, experiment: Experiment) -> None:
        assert list(differences(experiment, override(experiment, ["data.flip=true"]))) == ["data.flip"]

    def test_fields_that_fit_only_together_are_set_together(self, experiment: Experiment) -> None:
        changed = override(
            experiment, ["schedule.resolutions=4,8", "schedule.batch_size=8,4", "schedule.stable_kimg=1"]
        )
        assert changed.schedule.resolutions == (4, 8)

    def test_flattened_fields_are_valid_overrides(self, experiment: Experiment) -> None:
        changed = override(experiment, ["seed=9", "data.flip=true", "schedule.lr=0.1,0.2", "training.microbatch=2"])
        flat = {key: value for key, value in changed.flatten().items() if key != "algorithm.kind"}
        lines = [f"{key}={value if isinstance(value, str) else json.dumps(value)}" for key, value in flat.items()]
        assert override(experiment, lines) == changed

    @pytest.mark.parametrize(
        ("assignment", "sentence"),
        [
            ("seed=x", "seed=x must be a whole number at least 0"),
            ("seed=1.0", "seed=1.0 must be a whole number at least 0"),
            ("seed=-1", "seed=-1 must be a whole number at least 0"),
            ("seed=null", "seed=null must be a whole number at least 0"),
            ("data.flip=yes", "data.flip=yes must be true or false"),
            ("data.flip=1", "data.flip=1 must be true or false"),
            ("training.tick_kimg=fast", "training.tick_kimg=fast must be a number above 0"),
            ("training.tick_kimg=inf", "training.tick_kimg=Infinity must be a number above 0"),
            ("training.microbatch=0", "training.microbatch[0]=0 must be a whole number at least 1"),
            ("training.precision=fp16", "training.precision=fp16 must be one of fp32, bf16"),
            ("schedule.batch_size=8,x", "schedule.batch_size=8,x must be a list of whole numbers"),
            ("schedule.batch_size=", "schedule.batch_size= must be a list of whole numbers"),
        ],
    )
    def test_a_wrong_value_is_told_what_the_field_takes(
        self, experiment: Experiment, assignment: str, sentence: str
    ) -> None:
        assert refusal(experiment, assignment) == sentence

    def test_a_misspelt_field_is_offered_the_nearest_and_all_of_its_level(self, experiment: Experiment) -> None:
        sentence = refusal(experiment, "training.optimizer.beta_2=0.9")
        assert "did you mean training.optimizer.beta2? Known: beta2, beta1, weight_decay, eps" in sentence

    def test_a_misspelt_group_is_answered_with_the_whole_path(self, experiment: Experiment) -> None:
        assert "did you mean training.tick_kimg?" in refusal(experiment, "trainig.tick_kimg=1")

    def test_a_field_without_its_group_is_answered_with_the_whole_path(self, experiment: Experiment) -> None:
        sentence = refusal(experiment, "r1_gamma=1")
        assert sentence.startswith("r1_gamma is not a field; did you mean algorithm.loss.r1_gamma? Known: name, seed")

    def test_a_whole_group_is_refused_with_its_fields(self, experiment: Experiment) -> None:
        sentence = refusal(experiment, "scaling=4")
        assert sentence.startswith("scaling is a group of fields; set one of scaling.workers, ")

    def test_a_path_through_a_value_is_refused(self, experiment: Experiment) -> None:
        assert "seed is a single value; write seed=value" in refusal(experiment, "seed.x=1")

    @pytest.mark.parametrize("assignment", ["seed", "=3", ""])
    def test_text_that_assigns_nothing_is_refused(self, experiment: Experiment, assignment: str) -> None:
        assert f'"{assignment}" is not an override; write field=value' in refusal(experiment, assignment)

    def test_a_field_given_twice_is_refused(self, experiment: Experiment) -> None:
        assert refusal(experiment, "seed=1", "seed=2") == "seed is given twice, as 1 and as 2; keep one"

    def test_the_kind_of_the_algorithm_is_not_overridable(self, experiment: Experiment) -> None:
        sentence = refusal(experiment, "algorithm.kind=alae")
        assert "algorithm.kind cannot be overridden" in sentence and "preset" in sentence


class TestResume:
    def test_an_unchanged_experiment_resumes(self, experiment: Experiment) -> None:
        assert resume_differences(experiment, Experiment.from_json(experiment.to_json())) == []

    def test_what_leaves_the_mathematics_alone_may_change(self, experiment: Experiment) -> None:
        changed = replace(
            experiment,
            name="other",
            data=replace(experiment.data, path="data/elsewhere", read_ahead_gib=2.0, damaged="skip"),
            training=TrainingConfig(
                microbatch=(8,),
                checkpoint_ticks=3,
                keep_checkpoints=2,
                storage="s3://b/runs",
                check_replicas=False,
            ),
            evaluation=EvaluationConfig(enabled=False, samples=10),
            scaling=ScalingConfig(workers=4, gpus_per_worker=1.0),
            tracking=TrackingConfig(uri="http://127.0.0.1:5000", experiment="other"),
        )
        assert len(differences(experiment, changed)) == 15
        assert resume_differences(experiment, changed) == []

    @pytest.mark.parametrize(
        ("assignment", "line"),
        [
            ("seed=1", "seed: 0 -> 1"),
            ("algorithm.latent=16", "algorithm.latent: 8 -> 16"),
            ("schedule.stable_kimg=1,2,9", "schedule.stable_kimg: 1.0,2.0 -> 1.0,2.0,9.0"),
            ("data.window_images=4096", "data.window_images: 2048 -> 4096"),
            ("data.flip=true", "data.flip: false -> true"),
            ("data.crop=0.1", "data.crop: 0.0 -> 0.1"),
            ("training.precision=bf16", "training.precision: fp32 -> bf16"),
            ("training.optimizer.beta1=0.5", "training.optimizer.beta1: 0.0 -> 0.5"),
            ("training.tick_kimg=2", "training.tick_kimg: 1.0 -> 2.0"),
            ("training.init_from=s3://b/run", "training.init_from: null -> s3://b/run"),
        ],
    )
    def test_what_touches_the_mathematics_is_listed(self, experiment: Experiment, assignment: str, line: str) -> None:
        assert resume_differences(experiment, override(experiment, [assignment])) == [line]

    def test_another_kind_of_algorithm_lists_the_fields_that_only_one_has(self, experiment: Experiment) -> None:
        lines = resume_differences(experiment, replace(experiment, algorithm=alae.Config(resolution=16)))
        assert "algorithm.kind: style_alae -> alae" in lines
        assert "algorithm.hidden: absent -> 1024" in lines
        assert "algorithm.base_channels: 16 -> absent" in lines
