"""Each capability of alae_core/capabilities.py, checked on every algorithm that offers it."""

from dataclasses import fields, replace
from typing import Any

import pytest
import torch

from alae_core.algorithm import PLAIN_SAMPLING, Sampling, SamplingError
from alae_core.capabilities import (
    Charted,
    Codes,
    ComparesFeatures,
    Encodes,
    EncodesLong,
    Grouped,
    Grown,
    HasDomains,
    HasOfficialForm,
    LimitsSearch,
    Mixes,
    Perceptual,
    Searched,
    Styles,
    Translates,
    Warmed,
    Watched,
)
from alae_core.layers import pixel_norm
from pipelines import presets
from pipelines.experiment import Experiment
from pipelines.experiment.official import compat
from pipelines.experiment.override import override
from tests.support import tiny
from tests.support.offers import EXPERIMENTS, PROTOCOLS, batch_at, claims, fresh, moments_in_time, offering
from tuning import space

pytestmark = pytest.mark.slow

EVERY = pytest.mark.parametrize("name", EXPERIMENTS)
ROWS = slice(2, 5)


def subjects(name: str) -> Any:
    """The algorithm, and a batch at each of its levels and fades."""
    experiment = EXPERIMENTS[name]
    return fresh(experiment), [batch_at(experiment, nimg, ROWS) for nimg in moments_in_time(experiment)]


def test_every_capability_is_claimed_by_an_algorithm() -> None:
    assert frozenset().union(*map(claims, EXPERIMENTS)) == PROTOCOLS.keys()


# Of the algorithm.


@offering(Codes)
def test_a_code_of_the_prior_is_decoded_at_every_level_the_same_twice_and_without_the_batchs_images(name: str) -> None:
    algorithm, batches = subjects(name)
    for batch in batches:
        z = batch.noise("z", algorithm.latent)
        codes = algorithm.mapped(algorithm.networks, z)
        assert codes.shape == z.shape and torch.isfinite(codes).all()
        images = algorithm.decode(algorithm.networks, codes, batch)
        assert images.shape == batch.images[0].shape and torch.isfinite(images).all()
        blind = replace(batch, images=(torch.zeros_like(batch.images[0]),))
        assert torch.equal(algorithm.decode(algorithm.networks, codes, blind), images)
        assert (algorithm.decode(algorithm.networks, codes.roll(1, 0), batch) != images).any()


@offering(Codes)
def test_a_sample_is_the_decoded_code_of_its_z(name: str) -> None:
    algorithm, batches = subjects(name)
    for batch in batches:
        codes = algorithm.mapped(algorithm.networks, batch.noise("z", algorithm.latent))
        decoded = algorithm.decode(algorithm.networks, codes, batch, PLAIN_SAMPLING)
        torch.testing.assert_close(algorithm.generate(algorithm.networks, batch), decoded)


@offering(Styles)
def test_one_style_for_all_layers_is_the_code_and_another_one_for_the_coarsest_shows(name: str) -> None:
    algorithm, batches = subjects(name)
    for batch in batches:
        codes = algorithm.mapped(algorithm.networks, batch.noise("z", algorithm.latent))
        layers = algorithm.style_layers(batch.level)
        styles = codes.unsqueeze(1).repeat(1, layers, 1)
        images = algorithm.decode(algorithm.networks, codes, batch, PLAIN_SAMPLING)
        torch.testing.assert_close(algorithm.decode(algorithm.networks, styles, batch, PLAIN_SAMPLING), images)
        styles[:, 0] = codes.roll(1, 0)
        assert (algorithm.decode(algorithm.networks, styles, batch, PLAIN_SAMPLING) != images).any()


@offering(Encodes)
def test_images_have_codes_the_same_twice_and_not_all_the_same_one(name: str) -> None:
    algorithm, batches = subjects(name)
    for batch in batches:
        codes = algorithm.embed(algorithm.networks, batch)
        assert len(codes) == 3 and torch.isfinite(codes).all()
        assert torch.equal(algorithm.embed(algorithm.networks, batch), codes)
        assert (codes[0] != codes[1]).any()


@offering(Codes, Encodes)
def test_a_reconstruction_is_the_decoded_code_of_its_image(name: str) -> None:
    algorithm, batches = subjects(name)
    for batch in batches:
        codes = algorithm.embed(algorithm.networks, batch)
        assert codes.shape == (3, algorithm.latent)
        decoded = algorithm.decode(algorithm.networks, codes, batch)
        torch.testing.assert_close(decoded, algorithm.reconstruct(algorithm.networks, batch))


@offering(EncodesLong)
def test_a_long_code_is_another_one_of_the_same_images(name: str) -> None:
    algorithm, batches = subjects(name)
    for batch in batches:
        long = algorithm.embed_long(algorithm.networks, batch)
        assert long.ndim == 2 and len(long) == 3 and torch.isfinite(long).all()
        assert torch.equal(algorithm.embed_long(algorithm.networks, batch), long) and (long[0] != long[1]).any()
        assert long.shape != algorithm.embed(algorithm.networks, batch).shape


# Of the Config.


@EVERY
def test_config_and_algorithm_agree_on_the_image_streams_and_two_can_be_translated(name: str) -> None:
    experiment = EXPERIMENTS[name]
    algorithm = tiny.build(experiment).algorithm
    assert experiment.domains == algorithm.domains
    assert isinstance(experiment.algorithm, HasDomains) == isinstance(algorithm, Translates) == (algorithm.domains == 2)


def refusal(experiment: Experiment) -> str:
    with pytest.raises(ValueError) as caught:
        experiment.validate()
    return str(caught.value)


@EVERY
def test_an_algorithm_whose_images_see_each_other_says_so_in_its_config(name: str) -> None:
    config: Any = EXPERIMENTS[name].algorithm
    together = tiny.build(EXPERIMENTS[name]).algorithm.together
    assert together == (config.together if isinstance(config, Grouped) else 1)
    assert not isinstance(config, Grouped) or config.grouped_by in {field.name for field in fields(config)}  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "name", [name for name in EXPERIMENTS if getattr(EXPERIMENTS[name].algorithm, "together", 1) > 1]
)
def test_what_breaks_a_group_is_refused_on_the_driver_by_its_field_with_values_that_work(name: str) -> None:
    experiment = EXPERIMENTS[name]
    config: Any = experiment.algorithm
    half, field = config.together // 2, f"algorithm.{config.grouped_by}="
    for broken in (f"training.microbatch={half}", f"schedule.batch_size={3 * half}", f"scaling.workers={8 // half}"):
        sentence = refusal(override(experiment, [broken]))
        assert f"not whole groups of {2 * half} images, which {field}" in sentence and "\n" not in sentence
    assert "training.microbatch=2 is not" in refusal(override(experiment, ["training.microbatch=2"]))
    works = ["training.microbatch=4", "schedule.batch_size=8", f"scaling.workers={8 // config.together}"]
    override(experiment, works).validate()


@offering(Grown)
def test_a_schedule_may_start_where_the_networks_do_and_no_coarser(name: str) -> None:
    whole = EXPERIMENTS[name]
    size = whole.algorithm.resolution
    grown = replace(whole, schedule=replace(whole.schedule, resolutions=(size // 2, size)))
    first: Any = replace(grown, algorithm=replace(grown.algorithm, first_resolution=size // 2))  # type: ignore[type-var]
    first.validate()
    late: Any = replace(grown, algorithm=replace(grown.algorithm, first_resolution=None))  # type: ignore[type-var]
    assert f"set algorithm.first_resolution={size // 2}" in refusal(late)


@pytest.mark.parametrize("name", [name for name in EXPERIMENTS if "Warmed" in claims(name)])
def test_a_warm_up_is_over_within_the_first_iterations_of_a_shrunk_run(name: str) -> None:
    loss: Any = EXPERIMENTS[name].algorithm.loss  # type: ignore[attr-defined]
    assert isinstance(loss, Warmed) and 0 <= max(loss.warmup_kimg) <= tiny.BATCH / 1000


@EVERY
def test_styles_are_mixed_where_the_config_says_so_and_refused_elsewhere(name: str) -> None:
    experiment = EXPERIMENTS[name]
    if experiment.domains == 2:
        return
    algorithm, batches = subjects(name)
    mixing = Sampling(mixing_probability=1.0)
    if getattr(experiment.algorithm, "mixing_probability", 0.0):
        mixed = algorithm.generate(algorithm.networks, batches[-1], mixing)
        assert (mixed != algorithm.generate(algorithm.networks, batches[-1])).any()
    elif not isinstance(experiment.algorithm, Mixes):
        with pytest.raises(SamplingError):
            algorithm.generate(algorithm.networks, batches[-1], mixing)
        sentence = refusal(override(experiment, ["evaluation.mixing_probability=0.5"]))
        assert "evaluation.mixing_probability=0.5 needs styles to mix" in sentence


@EVERY
def test_a_perceptual_loss_is_named_by_its_config_and_its_features_wait_for_weights(name: str) -> None:
    experiment = EXPERIMENTS[name]
    config, algorithm = experiment.algorithm, tiny.build(experiment).algorithm
    assert isinstance(config, Perceptual) == isinstance(algorithm, ComparesFeatures)
    if not isinstance(config, Perceptual):
        return
    field = f"algorithm.{config.perceptual_field}"
    assert isinstance(algorithm, ComparesFeatures) and algorithm.features is None
    heavier: Any = override(experiment, [f"{field}=0.25"])
    assert heavier.algorithm.perceptual_weight == 0.25
    assert f"{field}=0.25 needs the weights of a VGG-16" in refusal(heavier)


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in EXPERIMENTS if {"Watched", "Charted"} & claims(name)])
def test_alarms_and_charts_read_what_the_updates_measure(name: str) -> None:
    experiment = EXPERIMENTS[name]
    config = experiment.algorithm
    measured = {
        key for tick in tiny.train(tiny.build(experiment), experiment, experiment.schedule.total_nimg) for key in tick
    }
    if isinstance(config, Watched):
        alarms = config.alarms()
        assert alarms and len({alarm.name for alarm in alarms}) == len(alarms)
        assert {name for alarm in alarms for name in alarm.reads} <= measured
        assert all(alarm.reads and not alarm.sentence.endswith(".") for alarm in alarms)
    if isinstance(config, Charted):
        assert config.charts and all(any(name in measured for name in names) for names in config.charts.values())
        assert {name for names in config.charts.values() for name in names} <= measured | unplayed(config)


def unplayed(config: Any) -> set[str]:
    """Metrics of fakes, which a plain VAE with the same charts does not report."""
    return (
        set() if getattr(config.loss, "introspects", True) else {n for names in config.charts.values() for n in names}
    )


@pytest.mark.parametrize("name", presets.names())
def test_every_preset_says_what_to_search_with_bounds_that_are_valid_in_it(name: str) -> None:
    for experiment in (presets.load(name), presets.load(f"debug_{name}")):
        config = experiment.algorithm
        assert isinstance(config, Searched)
        found = space.parse(experiment, space.default(experiment))
        assert found.keys() <= experiment.flatten().keys()
        if isinstance(config, LimitsSearch):
            assert config.search_problem(set(found)) is None and config.trial_problem(None, []) is None


@offering(HasOfficialForm)
def test_the_official_form_is_another_form_of_the_same_networks_and_valid(name: str) -> None:
    experiment = EXPERIMENTS[name]
    official = compat(experiment)
    official.validate()
    assert type(official.algorithm) is type(experiment.algorithm)
    first, second = (tiny.build(each).algorithm.networks for each in (experiment, official))
    assert first.keys() == second.keys()
    assert compat(official) == official
    assert Experiment.from_json(official.to_json()) == official


def test_a_code_of_z_that_generate_does_not_use_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    """A wrong implementation, on which the tests of this file must fail: the members have the right names only."""
    kind = type(fresh(EXPERIMENTS["mnist32_alae"]))
    monkeypatch.setattr(kind, "mapped", lambda algorithm, networks, z: pixel_norm(z))
    with pytest.raises(AssertionError, match="Tensor-likes are not close"):
        test_a_sample_is_the_decoded_code_of_its_z("mnist32_alae")
