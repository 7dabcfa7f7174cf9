"""The benchmark: its reference computes what we compute, its counts are right, and its table is complete."""

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from alae_core import fused, images
from alae_core.algorithm import Batch
from alae_core.algorithms import style_alae
from alae_core.engine import Engine
from alae_core.optim import AdamConfig, set_lr
from alae_core.state import TrainState
from benchmarks.step import __main__ as command
from benchmarks.step import cases, flops, machine, modes, profile, timing
from benchmarks.step.reference import Draws, LoopAdam, Losses
from benchmarks.step.reference_networks import learning_rates
from benchmarks.step.reference_weights import reference_of, weights

pytestmark = pytest.mark.slow

COUNT = 3
TINY = ["--resolutions", "8", "--batch", "2", "--base-channels", "4", "--max-channels", "8", "--latent", "6"]
CLOSE: dict[str, Any] = {"rtol": 1e-9, "atol": 1e-9}


@pytest.fixture
def _double() -> Iterator[None]:
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


class Pair:
    """Our StyleALAE and the reference with its weights, and the same images and draws for both."""

    def __init__(self, resolution: int, blend: float) -> None:
        sizes = {"resolution": resolution, "base_channels": 4, "max_channels": 8, "latent": 6, "mapping_layers": 2}
        self.config = style_alae.Config(**sizes)
        self.state = TrainState.build(self.config, 0, AdamConfig(eps=1e-30))
        self.algorithm: Any = self.state.algorithm
        draws = torch.Generator().manual_seed(1)
        for network in self.algorithm.networks.values():
            for parameter in network.parameters():
                # Biases and noise weights too: at the start they are zero, and would hide an error.
                parameter.data.copy_(torch.randn(parameter.shape, generator=draws))
        self.theirs = reference_of(self.config, self.algorithm.networks)
        case = cases.Case(
            algorithm="style_alae", resolution=resolution, batch=COUNT, final_resolution=resolution, blend=blend
        )
        level = case.schedule().level_at(case.nimg)
        assert level.blend == blend
        self.losses = Losses(networks=self.theirs, level=level.resolution.bit_length() - 3, blend=blend, r1_gamma=10.0)
        pixels = torch.randint(0, 256, (COUNT, resolution, resolution, 3), generator=draws, dtype=torch.uint8)
        self.images = images.to_float(pixels).double()
        self.batch = Batch(images=(self.images,), level=level, nimg=0, seed=0, rows=slice(0, COUNT))

    def our_terms(self, name: str) -> dict[str, Tensor]:
        (update,) = (u for u in self.algorithm.updates(0) if u.name == name)
        return dict(update.loss(replace(self.batch, update=name)))

    def their_terms(self, name: str) -> dict[str, Tensor]:
        if name == "discriminator":
            return self.losses.discriminator(self.images, self.draws(name))
        if name == "generator":
            return self.losses.generator(self.draws(name))
        return self.losses.reciprocity(replace(self.draws(name), z_mixed=None, cut=None))

    def draws(self, name: str) -> Draws:
        """The draws of our update, cuts included, as the reference takes them."""
        batch, layers = replace(self.batch, update=name), self.losses.layers
        coin, position = batch.uniform("mixing", 2).unbind(1)
        cut = torch.where(coin < self.config.mixing_probability, 1 + (position * (layers - 1)).floor(), layers)
        latent = self.config.latent
        return Draws(
            z=batch.noise("z", latent), z_mixed=batch.noise("z_mixed", latent), cut=cut.long(), noise=batch.noise
        )

    def differentiate(self, name: str) -> None:
        """Gradients of one of our updates, and of the reference's, on all networks."""
        for networks in (self.algorithm.networks, self.theirs):
            for network in networks.values():
                network.requires_grad_(True).zero_grad()
        sum(term.mean() for term in self.our_terms(name).values()).backward()  # type: ignore[union-attr]
        sum(term.mean() for term in self.their_terms(name).values()).backward()  # type: ignore[union-attr]


LEVELS = pytest.mark.parametrize(("resolution", "blend"), [(16, 1.0), (16, 0.5), (128, 1.0)])
UPDATES = pytest.mark.parametrize("update", ["discriminator", "generator", "reciprocity"])


@LEVELS
def test_the_reference_networks_compute_what_ours_compute(_double: None, resolution: int, blend: float) -> None:
    pair = Pair(resolution, blend)
    ours, level = pair.algorithm.networks, pair.losses.level
    draws = pair.draws("generator")
    w = ours["mapping"](draws.z)
    torch.testing.assert_close(pair.theirs["mapping"](draws.z), w, **CLOSE)
    torch.testing.assert_close(pair.theirs["discriminator"](w), ours["discriminator"](w), **CLOSE)
    styles = torch.stack([w * (1 + layer) for layer in range(pair.losses.layers)], 1)
    made = ours["generator"](styles, draws.noise, level, blend)
    torch.testing.assert_close(pair.theirs["generator"](styles, draws.noise, level, blend), made, **CLOSE)
    code = ours["encoder"](pair.images, level, blend)
    torch.testing.assert_close(pair.theirs["encoder"](pair.images, level, blend), code, **CLOSE)


@UPDATES
@LEVELS
def test_the_reference_losses_and_gradients_are_ours(_double: None, update: str, resolution: int, blend: float) -> None:
    pair = Pair(resolution, blend)
    ours, theirs = pair.our_terms(update), pair.their_terms(update)
    assert ours.keys() == theirs.keys()
    for name in ours:
        torch.testing.assert_close(theirs[name], ours[name], **CLOSE)
    pair.differentiate(update)
    for parameter, expected in weights(pair.algorithm.networks, pair.theirs, of_gradients=True):
        found = torch.zeros_like(parameter) if parameter.grad is None else parameter.grad
        # Relative to the largest: a gradient is a sum of large terms that may cancel.
        torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-9 * max(1.0, expected.abs().max().item()))


def test_every_parameter_of_the_reference_is_mapped_once_and_has_a_learning_rate() -> None:
    pair = Pair(16, 1.0)
    own = {id(p) for network in pair.theirs.values() for p in network.parameters()}
    mapped = [id(parameter) for parameter, _ in weights(pair.algorithm.networks, pair.theirs)]
    rated = [id(p) for network in pair.theirs.values() for p, _ in learning_rates(network)]
    assert sorted(mapped) == sorted(rated) == sorted(own)


def test_a_step_of_the_reference_adam_moves_the_effective_weights_as_ours_does(_double: None) -> None:
    pair = Pair(8, 1.0)
    networks, names = pair.algorithm.networks, ("generator", "mapping")
    loop = LoopAdam([pair.theirs[name] for name in names], eps=1e-30)
    before = [value.clone() for _, value in weights(networks, pair.theirs)]
    for _ in range(3):
        pair.differentiate("generator")
        for name in names:
            set_lr(pair.state.optimizers[name], 0.01)
            pair.state.optimizers[name].step()
        loop.step(0.01)
    pairs = weights(networks, pair.theirs)
    for parameter, value in pairs:
        torch.testing.assert_close(parameter.detach(), value, rtol=1e-6, atol=1e-8)
    moved = sum(not torch.equal(old, value) for old, (_, value) in zip(before, pairs, strict=True))
    assert moved > 20


def test_the_count_of_a_convolution_and_its_first_and_second_derivatives_is_the_hand_count() -> None:
    x = torch.randn(2, 3, 8, 8, requires_grad=True)
    weight = torch.randn(5, 3, 3, 3, requires_grad=True)
    forward = 2 * 2 * 5 * 3 * 9 * 8 * 8
    assert flops.count(lambda: F.conv2d(x, weight, padding=1)) == forward
    # One such product for the gradient of each operand.
    assert flops.count(lambda: F.conv2d(x, weight, padding=1).sum().backward()) == 3 * forward

    def penalty() -> None:
        (gradient,) = torch.autograd.grad(F.conv2d(x, weight, padding=1).square().sum(), x, create_graph=True)
        gradient.square().sum().backward()

    # The value and the image's gradient; that gradient by what came in and by the weight; the value by both operands.
    assert flops.count(penalty) == (2 + 2 + 2) * forward


def test_the_count_of_a_transposed_and_of_a_depthwise_convolution_is_the_hand_count() -> None:
    x = torch.randn(2, 4, 6, 6)
    transposed = torch.randn(4, 5, 4, 4)
    assert flops.count(lambda: F.conv_transpose2d(x, transposed, stride=2, padding=1)) == 2 * 2 * 4 * 5 * 16 * 36
    kernel = torch.randn(4, 1, 3, 3)
    assert flops.count(lambda: F.conv2d(x, kernel, padding=1, groups=4)) == 2 * 2 * 4 * 9 * 36


def test_a_count_of_an_iteration_weighs_each_phase_by_its_share() -> None:
    a, b = torch.randn(3, 4), torch.randn(4, 5)
    rare = cases.Phase(share=0.25, run=lambda: (a @ b, a @ b))
    usual = cases.Phase(share=0.75, run=lambda: a @ b)
    assert flops.count_iteration([rare, usual]) == 2 * 60 * (0.25 * 2 + 0.75)


def test_the_reference_needs_more_operations_than_our_form_and_lazy_r1_fewer() -> None:
    case = cases.Case(algorithm="style_alae", resolution=16, batch=2, final_resolution=16, max_channels=64, latent=8)
    plain, ours, lazy = (
        flops.count_iteration(cases.phases(case, mode))
        for mode in (modes.REFERENCE, modes.Mode(), modes.Mode(lazy_r1=True))
    )
    assert lazy < ours < plain


def test_an_iteration_of_the_reference_moves_every_network_and_its_average() -> None:
    case = cases.Case(
        algorithm="style_alae", resolution=8, batch=2, final_resolution=16, max_channels=8, latent=6, blend=0.5
    )
    reference = cases.reference(case)
    before = {name: _flat(network) for name, network in reference.losses.networks.items()}
    averages = {name: _flat(network) for name, network in reference.averages.items()}
    reference.train_iteration(case.pixels(channels_last=False).permute(0, 3, 1, 2))
    for name, network in reference.losses.networks.items():
        assert torch.isfinite(_flat(network)).all()
        assert not torch.equal(_flat(network), before[name])
        assert not torch.equal(_flat(reference.averages[name]), averages[name])
    assert reference.losses.w_mean.abs().min() > 0


def _flat(network: torch.nn.Module) -> Tensor:
    return torch.cat([parameter.detach().flatten() for parameter in network.parameters()])


@pytest.mark.parametrize("blend", [1.0, 0.5])
def test_every_timed_iteration_stands_within_its_level_where_no_moment_is_cleared(blend: float) -> None:
    case = cases.Case(algorithm="style_alae", resolution=32, batch=5, final_resolution=64, blend=blend)
    schedule = case.schedule()
    level = schedule.level_at(case.nimg)
    assert (level.resolution, level.blend, level.batch_size) == (32, blend, 5)
    assert schedule.level_before(case.nimg).index == level.index


@pytest.mark.parametrize("channels_last", [True, False])
def test_weights_averages_and_images_have_the_memory_format_of_the_mode(channels_last: bool) -> None:
    case = cases.Case(algorithm="style_alae", resolution=8, batch=2, final_resolution=8, max_channels=8, latent=6)
    state = cases.fresh_state(case, modes.Mode(channels_last=channels_last))
    networks = (*state.algorithm.networks.values(), *state.ema.values())
    kernels = [p for network in networks for p in network.parameters() if p.dim() == 4 and min(p.shape[1:]) > 1]
    wanted = torch.channels_last if channels_last else torch.contiguous_format
    assert len(kernels) > 10 and all(kernel.is_contiguous(memory_format=wanted) for kernel in kernels)
    assert images.to_float(case.pixels(channels_last)).is_contiguous(memory_format=wanted)


@pytest.mark.parametrize("mode", modes.every_mode(), ids=lambda mode: mode.name)
def test_the_engine_of_a_mode_has_its_precision_and_form(mode: modes.Mode, monkeypatch: pytest.MonkeyPatch) -> None:
    built: list[Engine] = []
    monkeypatch.setattr(cases, "Engine", lambda **options: built.append(Engine(**options)) or built[-1])
    case = cases.Case(algorithm="style_alae", resolution=8, batch=2, final_resolution=8, max_channels=8, latent=6)
    cases.phases(case, mode)
    expected = [] if mode == modes.REFERENCE else [(mode.precision, mode.form == "compiled")]
    assert [(engine.precision, engine.compile) for engine in built] == expected


def test_a_lazy_mode_is_one_iteration_with_the_penalty_and_fifteen_without() -> None:
    case = cases.Case(algorithm="style_alae", resolution=8, batch=2, final_resolution=8, max_channels=8, latent=6)
    first, others = cases.phases(case, modes.Mode(lazy_r1=True))
    assert (first.share, others.share) == (1 / 16, 15 / 16)
    terms: Any = (first.run(), others.run())
    assert "penalty/r1" in terms[0] and "penalty/r1" not in terms[1]


def test_the_table_has_a_line_for_every_mode_and_the_file_every_number(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(machine, "CPU_SIZES", (32,))
    file = tmp_path / "results.json"
    # The kernels have tests of their own; to compile them here would take minutes.
    with torch.compiler.set_stance("force_eager"):
        assert command.main([*TINY, "--iterations", "1", "--json", str(file)]) == 0
    printed = capsys.readouterr().out
    wanted = [mode.name for mode in modes.every_mode()]
    rows = [line.split(" | ") for line in printed.splitlines() if line.startswith("| style_alae")]
    assert [row[4] for row in rows] == wanted
    saved = json.loads(file.read_text())
    assert len(saved["results"]) == len(wanted) and saved["machine"]["fp32_peak"] > 0
    by_name = dict(zip(wanted, saved["results"], strict=True))
    assert by_name["reference"]["speedup"] == 1.0
    for result in saved["results"]:
        assert result["fastest_s"] <= result["seconds"] <= result["slowest_s"]
        assert result["flops_per_s"] == pytest.approx(result["model_flops"] / result["seconds"])
        assert result["images_per_s"] == pytest.approx(2 / result["seconds"])


def test_an_algorithm_without_a_plain_form_is_timed_without_a_ratio() -> None:
    case = cases.Case(algorithm="alae", resolution=8, batch=2, final_resolution=8, latent=6)
    where = machine.describe("cpu", sizes=(16,))
    (result,) = timing.measure(case, [modes.REFERENCE, modes.Mode()], where, rounds=1)
    assert (result.mode, result.speedup) == (modes.Mode(), None)


def test_a_machine_without_a_compiler_is_timed_in_the_other_modes_and_told_so(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def none(device: torch.device) -> None:
        raise RuntimeError("no compiler here")

    monkeypatch.setattr(machine, "CPU_SIZES", (32,))
    monkeypatch.setattr(fused, "require_compiler", none)
    assert command.main([*TINY, "--iterations", "1", "--modes", "reference,fp32-*-channels_last"]) == 0
    printed = capsys.readouterr().out
    assert "no compiler here" in printed
    assert [line.split(" | ")[4] for line in printed.splitlines() if line.startswith("| style_alae")] == [
        "reference",
        "fp32-eager-channels_last",
    ]


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        (["--modes", "fp64"], "--modes: 'fp64' is none of reference, fp32-eager-contiguous"),
        (["--algorithms", "vae"], "--algorithms: 'vae' is none of"),
        (
            ["--algorithms", "munit", "--fade"],
            "--algorithms: munit has one level; leave out --final-resolution and --fade",
        ),
        (["--resolutions", "48"], "--resolutions: 48 is not a power of two"),
        (["--resolutions", "32,64", "--batch", "4"], "--batch has 1 values for 2 --resolutions"),
        (["--resolutions", "64", "--final-resolution", "32"], "--final-resolution=32 is below"),
    ],
)
def test_a_wrong_option_is_answered_by_one_sentence(
    wrong: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        command.main(wrong)
    last = capsys.readouterr().err.strip().splitlines()[-1]
    assert said in last


def test_patterns_choose_modes_once_each_in_the_order_of_the_table() -> None:
    names = [mode.name for mode in modes.select(["bf16-eager-*", "reference", "*-contiguous"])]
    assert names[0] == "reference" and len(names) == len(set(names))
    assert "bf16-eager-channels_last-lazy_r1" in names and "fp32-compiled-channels_last" not in names


def test_the_shares_of_a_profile_add_up_and_find_each_kind_of_operation() -> None:
    case = cases.Case(algorithm="style_alae", resolution=8, batch=2, final_resolution=8, max_channels=8, latent=6)
    for mode in (modes.REFERENCE, modes.Mode()):
        shares = profile.shares_by_group(cases.phases(case, mode), "cpu")
        assert sum(shares.values()) == pytest.approx(1.0)
        for group in ("convolution", "blur", "norm and statistics", "pointwise", "optimizer", "noise"):
            assert shares[group] > 0, (mode.name, group)


@pytest.mark.slow
def test_peak_memory_on_cpus_is_that_of_the_mode_and_grows_with_the_batch(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(machine, "CPU_SIZES", (32,))
    found = []
    for batch in ("2", "64"):
        file = tmp_path / batch
        sizes = ["--resolutions", "16", "--batch", batch, "--max-channels", "64", "--latent", "6"]
        options = ["--modes", "fp32-eager-channels_last", "--iterations", "1", "--memory", "--json", str(file)]
        assert command.main([*sizes, *options]) == 0
        found.append(json.loads(file.read_text())["results"][0]["peak_bytes"])
    # 64 images of 64 channels at 16 px are 4 MiB a layer.
    assert found[1] - found[0] > 30 * 2**20 and found[0] > 2**20
