"""Experiments: the JSON round trip, and errors with field, value, rule and remedy."""

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from alae_core.algorithms import alae, intro_vae, munit, style_alae
from alae_core.schedule import ProgressiveSchedule
from pipelines.experiment import DataConfig, Experiment, TrainingConfig
from pipelines.experiment.override import override


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


def written(experiment: Experiment, **changes: Any) -> str:
    return json.dumps({**json.loads(experiment.to_json()), **changes})


def invalid(experiment: Experiment) -> str:
    with pytest.raises(ValueError) as caught:
        experiment.validate()
    return str(caught.value)


def one_level(experiment: Experiment) -> ProgressiveSchedule:
    finest = experiment.schedule.resolutions[-1:]
    return replace(experiment.schedule, resolutions=finest, stable_kimg=(1.0,), fade_kimg=(0.0,), batch_size=(32,))


class TestJson:
    def test_an_experiment_survives_json_unchanged(self, experiment: Experiment) -> None:
        changed = replace(
            experiment,
            algorithm=alae.Config(resolution=16, loss=alae.LossConfig(r1_every=4)),
            training=TrainingConfig(microbatch=(4, 2), init_from="s3://bucket/run"),
        )
        assert Experiment.from_json(changed.to_json()) == changed

    def test_the_kind_chooses_the_class_of_the_algorithm(self, experiment: Experiment) -> None:
        read = Experiment.from_json(written(experiment, algorithm={"kind": "alae"}))
        assert read.algorithm == alae.Config()

    def test_tuples_come_back_as_tuples(self, experiment: Experiment) -> None:
        assert Experiment.from_json(experiment.to_json()).schedule.resolutions == (4, 8, 16)

    def test_a_whole_number_passes_for_a_number(self, experiment: Experiment) -> None:
        read = Experiment.from_json(written(experiment, training={"tick_kimg": 2}))
        assert read.training.tick_kimg == 2.0 and isinstance(read.training.tick_kimg, float)

    @pytest.mark.parametrize(
        ("changes", "sentence"),
        [
            ({"training": {"tick_kimg": "abc"}}, 'training.tick_kimg="abc" must be a number above 0'),
            (
                {"training": {"microbatch": "4"}},
                'training.microbatch="4" must be a list of whole numbers, or null',
            ),
            ({"seed": 1.5}, "seed=1.5 must be a whole number at least 0"),
            ({"data": {"path": "x", "flip": 1}}, "data.flip=1 must be true or false"),
            ({"training": {"precision": "fp16"}}, 'training.precision="fp16" must be one of fp32, bf16'),
            ({"training": {"tick_kimg": float("nan")}}, "training.tick_kimg=NaN must be a number above 0"),
            ({"scaling": 3}, "scaling=3 must be a group of fields: workers, "),
            ({"data": {}}, "data.path is missing; it must be text"),
            ({"algorithm": {}}, "algorithm.kind is missing; it must be one of alae, intro_vae, "),
            (
                {"algorithm": {"kind": "style_ale"}},
                'algorithm.kind="style_ale" is not known; did you mean style_alae?',
            ),
            ({"algorithm": 7}, "algorithm=7 must be a group of fields: kind (alae, intro_vae, "),
        ],
    )
    def test_a_wrong_value_is_named_with_its_path_and_what_is_expected(
        self, experiment: Experiment, changes: dict[str, Any], sentence: str
    ) -> None:
        with pytest.raises(ValueError, match=f"^{re.escape(sentence)}"):
            Experiment.from_json(written(experiment, **changes))

    def test_a_wrong_item_of_a_list_is_named_by_its_position(self, experiment: Experiment) -> None:
        text = experiment.to_json().replace("2.0", '"two"')
        with pytest.raises(ValueError, match=r'^schedule\.stable_kimg\[1\]="two" must be a number$'):
            Experiment.from_json(text)

    @pytest.mark.parametrize(
        ("changes", "guess"),
        [
            ({"trainin": {}}, "trainin is not a field; did you mean training? Known: training, "),
            (
                {"training": {"optimizer": {"beta_1": 0}}},
                "training.optimizer.beta_1 is not a field; did you mean training.optimizer.beta1?",
            ),
            (
                {"algorithm": {"kind": "alae", "latnt": 3}},
                "algorithm.latnt is not a field; did you mean algorithm.latent? Known: latent, ",
            ),
        ],
    )
    def test_an_unknown_field_is_refused_at_any_depth_with_the_nearest_name(
        self, experiment: Experiment, changes: dict[str, Any], guess: str
    ) -> None:
        with pytest.raises(ValueError, match=f"^{re.escape(guess)}"):
            Experiment.from_json(written(experiment, **changes))

    def test_a_name_like_no_field_gets_the_known_ones_but_no_guess(self, experiment: Experiment) -> None:
        with pytest.raises(ValueError, match=r"^xyzzy is not a field; Known: ") as caught:
            Experiment.from_json(written(experiment, xyzzy=1))
        assert "did you mean" not in str(caught.value) and "schedule" in str(caught.value)

    def test_every_problem_gets_its_own_line(self, experiment: Experiment) -> None:
        with pytest.raises(ValueError) as caught:
            Experiment.from_json(written(experiment, seed="x", tracking={"url": 1}, data={}))
        lines = str(caught.value).splitlines()
        assert [line.split("=")[0].split(" ")[0] for line in lines] == ["seed", "data.path", "tracking.url"]

    @pytest.mark.parametrize(("text", "sentence"), [("{", "not JSON"), ("[1]", r"the whole=\[1\] must be a group")])
    def test_what_is_no_experiment_at_all_is_refused(self, text: str, sentence: str) -> None:
        with pytest.raises(ValueError, match=f"^{sentence}"):
            Experiment.from_json(text)

    def test_the_schedules_own_rules_are_passed_on(self, experiment: Experiment) -> None:
        text = experiment.to_json().replace("16", "24")
        with pytest.raises(ValueError, match=r"^schedule\.resolutions=.*must double"):
            Experiment.from_json(text)

    def test_flat_keys_are_dotted_and_values_scalar(self, experiment: Experiment) -> None:
        flat = experiment.flatten()
        assert all(value is None or isinstance(value, (str, int, float, bool)) for value in flat.values())
        assert flat["algorithm.kind"] == "style_alae"
        assert flat["algorithm.loss.r1_gamma"] == 10.0
        assert flat["schedule.resolutions"] == "4,8,16"
        assert flat["training.microbatch"] is None


class TestValidate:
    def test_a_sound_experiment_passes(self, experiment: Experiment) -> None:
        experiment.validate()

    def test_a_microbatch_is_told_the_divisors_it_may_take(self, experiment: Experiment) -> None:
        broken = override(experiment, ["schedule.batch_size=32", "scaling.workers=4", "training.microbatch=24"])
        assert invalid(broken) == (
            "training.microbatch=24 does not divide 32/4 ranks = 8 images per rank; use 1, 2, 4 or 8"
        )

    def test_a_microbatch_must_divide_the_batch_of_every_level(self, experiment: Experiment) -> None:
        broken = override(experiment, ["schedule.batch_size=48,12,4", "training.microbatch=12"])
        assert invalid(broken).endswith("4/1 ranks = 4 images per rank; use 1, 2 or 4")

    def test_a_microbatch_that_divides_every_level_passes(self, experiment: Experiment) -> None:
        override(experiment, ["scaling.workers=4", "training.microbatch=8"]).validate()

    def test_a_batch_must_divide_over_the_workers(self, experiment: Experiment) -> None:
        broken = override(experiment, ["scaling.workers=4", "schedule.batch_size=64,30"])
        assert invalid(broken) == "schedule.batch_size[1]=30 does not divide over scaling.workers=4; use 28 or 32"

    def test_a_batch_smaller_than_the_workers_is_not_offered_zero(self, experiment: Experiment) -> None:
        broken = override(experiment, ["scaling.workers=4", "schedule.batch_size=64,3"])
        assert invalid(broken).endswith("; use 4")

    def test_the_algorithm_ends_where_the_schedule_ends(self, experiment: Experiment) -> None:
        broken = override(experiment, ["algorithm.resolution=32"])
        assert "algorithm.resolution=32 is not the last of schedule.resolutions=4,8,16" in invalid(broken)

    def test_growth_starts_no_lower_than_the_networks_do(self, experiment: Experiment) -> None:
        grown = replace(experiment, algorithm=intro_vae.Config(resolution=16, latent=8, first_resolution=4))
        grown.validate()
        for first, coarsest in ((None, 16), (8, 8)):
            broken = replace(grown, algorithm=replace(grown.algorithm, first_resolution=first))
            assert (
                f"4,8,16 starts below the networks' coarsest, {coarsest}; set algorithm.first_resolution=4"
                in invalid(broken)
            )

    def test_ranks_and_micro_batches_keep_groups_of_images_whole(self, experiment: Experiment) -> None:
        grouped = replace(experiment, algorithm=intro_vae.Config(resolution=16, latent=8, first_resolution=4, group=8))
        override(grouped, ["scaling.workers=4", "training.microbatch=8"]).validate()
        assert invalid(override(grouped, ["scaling.workers=8"])) == (
            "schedule.batch_size[1]=32 over scaling.workers=8 is 4 images per rank, not whole groups of 8 images, which "
            "algorithm.group=8 keeps together; use 64 images, or 1, 2 or 4 workers"
        )
        assert invalid(override(grouped, ["training.microbatch=16,4"])) == (
            "training.microbatch[1]=4 is not whole groups of 8 images, which algorithm.group=8 keeps together; use 8, 16 or 32"
        )

    @pytest.mark.parametrize("resolutions", ["7,14,28", "2,4,8"])
    def test_resolutions_are_powers_of_two_from_four_up(self, experiment: Experiment, resolutions: str) -> None:
        finest = resolutions.split(",")[-1]
        broken = override(experiment, [f"algorithm.resolution={finest}", f"schedule.resolutions={resolutions}"])
        assert invalid(broken) == f"schedule.resolutions={resolutions} must be powers of two from 4 up"

    def test_a_window_holds_the_largest_batch(self, experiment: Experiment) -> None:
        assert re.search(
            r"data\.window_images=63 .*use 64 or more",
            invalid(override(experiment, ["data.window_images=63"])),
        )
        override(experiment, ["data.window_images=64"]).validate()

    def test_the_read_ahead_holds_what_two_tasks_read(self, experiment: Experiment) -> None:
        wide = override(experiment, ["data.window_images=100000", "data.read_ahead_gib=0.05"])
        needed = re.search(r"data\.read_ahead_gib=0\.05 does not hold .*; use ([0-9.]+) or more", invalid(wide))
        assert needed
        override(wide, [f"data.read_ahead_gib={needed[1]}"]).validate()

    def test_a_tick_holds_the_largest_batch(self, experiment: Experiment) -> None:
        broken = override(experiment, ["training.tick_kimg=0.063"])
        assert re.search(r"training\.tick_kimg=0\.063 .*use 0\.064 or more", invalid(broken))
        override(experiment, ["training.tick_kimg=0.064"]).validate()

    @pytest.mark.parametrize("name", ["", "a/b", "..", ".hidden", "a b", "é", "x" * 101, "a\n"])
    def test_a_name_unfit_for_a_folder_is_refused(self, experiment: Experiment, name: str) -> None:
        assert "cannot be a folder name; use" in invalid(replace(experiment, name=name))

    @pytest.mark.parametrize(
        ("field", "value"),
        [
            ("algorithm.latent", "0"),
            ("algorithm.mixing_probability", "1.5"),
            ("algorithm.loss.w_mean_decay", "1"),
            ("algorithm.loss.r1_gamma", "-1"),
            ("training.optimizer.beta2", "1"),
            ("training.optimizer.eps", "0"),
            ("training.optimizer.weight_decay", "-1"),
            ("algorithm.official.deviation_eps", "-1"),
            ("evaluation.mixing_probability", "1.5"),
        ],
    )
    def test_a_number_out_of_bounds_is_refused_by_its_path(
        self, experiment: Experiment, field: str, value: str
    ) -> None:
        with pytest.raises(ValueError, match=rf"^{field}={value}"):
            override(experiment, [f"{field}={value}"]).validate()

    def test_only_an_algorithm_with_styles_mixes_them_in_its_evaluation(self, experiment: Experiment) -> None:
        mixing = override(experiment, ["evaluation.mixing_probability=0.9"])
        mixing.validate()
        assert invalid(replace(mixing, algorithm=alae.Config(resolution=16))) == (
            "evaluation.mixing_probability=0.9 needs styles to mix, and algorithm.kind=alae has one code per image; use 0"
        )

    def test_an_algorithm_of_two_domains_trains_at_one_level(self, experiment: Experiment) -> None:
        assert len(experiment.schedule.resolutions) == 3
        translator = replace(experiment, algorithm=munit.Config(resolution=16))
        assert invalid(translator) == (
            "schedule.resolutions=4,8,16 are several levels, and algorithm.kind=munit trains at one; use "
            "schedule.resolutions=16"
        )
        replace(translator, schedule=one_level(translator)).validate()

    def test_the_images_of_both_domains_must_fit_into_what_is_read_ahead(self, experiment: Experiment) -> None:
        def needed(algorithm: Any) -> float:
            small = replace(experiment, algorithm=algorithm, schedule=one_level(experiment))
            message = invalid(override(small, ["data.read_ahead_gib=1e-6"]))
            found = re.search(r"two tasks read at a time; use ([0-9.]+) or more", message)
            assert found
            return float(found[1])

        one, two = alae.Config(resolution=16, channels=3), munit.Config(resolution=16, channels=3)
        assert needed(two) == pytest.approx(2 * needed(one), abs=0.02)

    def test_images_are_either_shifted_or_cut_from_larger_ones(self, experiment: Experiment) -> None:
        override(experiment, ["data.enlarge=1.117"]).validate()
        assert invalid(override(experiment, ["data.enlarge=1.117", "data.crop=0.1"])) == (
            "data.crop=0.1 and data.enlarge=1.117 both shift the images randomly; use data.crop=0 or data.enlarge=1"
        )

    @pytest.mark.parametrize("factor", ["0.9", "2.1"])
    def test_images_are_enlarged_at_most_to_twice_their_side(self, experiment: Experiment, factor: str) -> None:
        with pytest.raises(ValueError, match=rf"^data\.enlarge={factor}"):
            override(experiment, [f"data.enlarge={factor}"]).validate()

    def test_values_of_the_wrong_type_given_in_python_are_refused(self, experiment: Experiment) -> None:
        broken = replace(experiment, seed="1", data=DataConfig(path=Path("data")))  # type: ignore[arg-type]
        assert re.fullmatch(r'seed="1" must be a whole number.*\ndata\.path=.*Path.* must be text', invalid(broken))

    @pytest.mark.parametrize(
        "url",
        [
            "https://ada:hunter2@mlflow.example.org",
            "https://hunter2@mlflow.example.org",
            "s3://AKIA:hunter2@bucket/runs",
            "s3://AKIA:hun/ter2hunter2@bucket/runs",
            "abfs://box/a?sig=hunter2",
            "https://store.example.org/x?AccessKey=hunter2",
            "s3://bucket/a?region=x&secret_key=hunter2",
            "https://store.example.org/x?X-Amz-Signature=hunter2",
        ],
    )
    @pytest.mark.parametrize("field", ["data.path", "training.storage", "training.init_from", "tracking.uri"])
    def test_credentials_in_a_url_are_refused_and_not_repeated(
        self, experiment: Experiment, field: str, url: str
    ) -> None:
        sentence = invalid(override(experiment, [f"{field}={url}"]))
        assert sentence.startswith(f"{field} carries credentials") and "hunter2" not in sentence

    @pytest.mark.parametrize(
        "url", ["s3://bucket/a", "abfs://box@account.dfs.core.windows.net/a", "data/a@b", "s3://b/a?region=x"]
    )
    def test_urls_without_credentials_pass(self, experiment: Experiment, url: str) -> None:
        override(experiment, [f"data.path={url}"]).validate()

    def test_an_empty_path_is_refused(self, experiment: Experiment) -> None:
        assert invalid(override(experiment, ["data.path="])) == 'data.path="" is empty; give a folder or URL'

    def test_all_broken_rules_are_listed_at_once(self, experiment: Experiment) -> None:
        broken = override(experiment, ["name=a/b", "algorithm.resolution=32", "training.tick_kimg=0.001"])
        assert len(invalid(broken).splitlines()) == 3
