"""Conversion of the names of metrics to their protocols and back."""

import itertools
import json
from dataclasses import replace
from typing import Any

import pytest

from alae_core.metrics.protocol import Protocol
from alae_core.metrics.protocol_names import ALIASES, known, parse
from alae_core.metrics.table import METRICS

OWN: dict[str, Any] = {"subsets": 50, "subset_size": 500, "neighbours": 3, "each": 19, "space": "w", "path": "end"}


def of(metric: str, **fields: Any) -> Protocol:
    about = METRICS[metric]
    extractor = about.extractor or ("lite0" if metric in ("fd", "kd", "pd") else "")
    own = {name: OWN[name] for name in about.needs}
    kind = about.of[0]
    defaults: dict[str, Any] = {"images": 5000, "extractor": extractor, "full": about.full, "of": kind}
    if kind == "translations":
        defaults["to"] = "b"
    return Protocol(metric=metric, **{**defaults, **own, **fields})


@pytest.mark.parametrize(
    ("name", "protocol"),
    [
        ("fid50k_full", of("fid", images=50_000, full=True)),
        ("fid50k", of("fid", images=50_000)),
        ("fd_lite0_5k", of("fd")),
        ("fd_classifier5k_mixed0.9_floored", of("fd", extractor="classifier", mixing=0.9, rounding="official")),
        ("kid10k_x1000", of("kid", images=10_000, subsets=100, subset_size=1000)),
        ("kid0.1k_50x50", of("kid", images=100, subset_size=50)),
        ("kd_lite0_5k_pairs", of("kd", subsets=0, subset_size=0)),
        ("pr50k3", of("pr", images=50_000)),
        ("pr_lite0_5k5_full", of("pr", extractor="lite0", neighbours=5, full=True)),
        ("ppl_wend", of("ppl", images=100_000)),
        ("ppl_lite0_10k_zfull_face", of("ppl", extractor="lite0", images=10_000, space="z", path="full", crop="face")),
        ("ls_w", of("ls", images=200_000)),
        ("is50k_psi0.7", of("is", images=50_000, truncation=0.7)),
        ("l2_10k_recon_test", of("l2", images=10_000, split="test")),
        ("diversity100x19_to_b", of("diversity", images=100)),
        ("pd_lite0_1k_recon", of("pd", images=1000)),
        ("kd_lite0_0.3k_x100_validation_to_a", of("kd", images=300, subsets=100, subset_size=100, split="validation",
                                                  of="translations", to="a")),
        ("l1_1k_to_b_paired", of("l1", images=1000, of="translations", to="b", paired=True)),
        ("fid1k_recon_validation_clean_mirrored", of("fid", images=1000, of="reconstructions", split="validation",
                                                     resize="clean", mirrored=True)),
    ],
)  # fmt: skip
def test_a_name_stands_for_its_protocol(name: str, protocol: Protocol) -> None:
    assert protocol.name == name
    assert parse(name) == protocol


def test_every_metric_with_every_option_is_read_back_from_its_name() -> None:
    options: list[dict[str, Any]] = [
        {"full": True, "mirrored": True},
        {"split": "test", "truncation": -0.5},
        {"of": "reconstructions", "mixing": 0.25},
        {"of": "translations", "to": "a"},
        {"of": "translations", "to": "b", "paired": True},
        {"rounding": "official", "resize": "clean"},
        {"crop": "celeba"},
        {"images": 1234567},
        {"extractor": "vgg16"},
        {"extractor": "pixels"},
    ]
    read = 0
    for metric, *chosen in itertools.product(METRICS, options, options):
        try:
            protocol = of(metric, **chosen[0], **chosen[1]) if chosen[0] is not chosen[1] else of(metric, **chosen[0])
        except (ValueError, TypeError):  # contradictions and repeated options
            continue
        assert parse(protocol.name) == protocol
        read += 1
    assert read > 300


@pytest.mark.parametrize("name", known())
def test_every_known_name_is_one(name: str) -> None:
    assert parse(name).name == ALIASES.get(name, name)


def test_different_protocols_have_different_names() -> None:
    base = of("fid")
    others = [
        replace(base, **change)
        for change in (
            *({"images": 5001}, {"full": True}, {"split": "test"}, {"of": "reconstructions"}, {"truncation": 0.5}),
            *({"mixing": 0.5}, {"rounding": "official"}, {"resize": "clean"}, {"mirrored": True}),
        )
    ]
    assert len({protocol.name for protocol in [base, *others]}) == 10


def test_the_official_ale_s_and_stylegan_s_ways_have_names() -> None:
    official = parse("fid50k_alae_compat")
    assert (official.mixing, official.rounding, official.truncation, official.full) == (0.9, "official", 1.0, False)
    assert parse("ppl_wfull_alae_compat").images == 50_000
    assert parse("ppl_wfull_stylegan_compat").images == 100_000
    assert parse("ppl_wfull_alae_compat").crop == parse("ppl_zend_stylegan_compat").crop == "face"
    assert parse("lpips10k_recon_alae_compat").split == "test"


def test_precision_and_recall_are_two_numbers_and_all_others_one() -> None:
    assert parse("pr50k3_full").keys == ("pr50k3_full_precision", "pr50k3_full_recall")
    assert parse("fid50k").keys == ("fid50k",)


@pytest.mark.parametrize("name", ["fid50k_full", "kid10k_x1000", "ppl_wend", "pr50k3"])
def test_a_protocol_survives_json(name: str) -> None:
    protocol = parse(name)
    assert Protocol(**json.loads(json.dumps(protocol.as_dict()))) == protocol


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("fid50k_ful", r"'fid50k_ful' is not known: 'ful' is no option; known ones, nearest first: fid50k_full, "),
        ("ppl_wnd", "nearest first: ppl_wend, "),
        ("nonsense", "'nonsense' is none of fid, fd, "),
        ("msssim", "it lacks the number of images, as in msssim50k"),
        ("fid50k_floored_full", "its name is spelled fid50k_full_floored"),
        ("fid50k_full_full", "its name is spelled fid50k_full"),
        ("ppl_wfull_zend", "its name is spelled ppl_zend"),
        ("fid_lite0_5k", "fid is for inception's features; over lite0 it is fd"),
        ("fd5k", "fd needs an extractor other than inception"),
        ("pr50k", "pr needs neighbours, it has nothing of its own"),
        ("fid50k3", "fid needs nothing of its own, it has neighbours"),
        ("l2_5k", "l2 is taken of reconstructions"),
        ("fid50k_face", "only ppl crops images"),
        ("ppl_wend_floored", "ppl compares images that are not rounded"),
        ("is50k_full", "is compares with no set of real images"),
        ("fid0k", "images=0, .* must be at least 1"),
        ("fid5k_mixed2", r"mixing=2 is a chance in \[0, 1\]"),
        ("kid5k_x1", "subsets=100 of subset_size=1"),
    ],
)
def test_a_name_that_stands_for_nothing_is_refused_with_the_reason_and_the_nearest(name: str, message: str) -> None:
    with pytest.raises(ValueError, match=message) as caught:
        parse(name)
    assert str(caught.value).startswith(f"metric {name!r} is not known: ")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"metric": "fed"}, "metric=fed is none of fid, "),
        ({"metric": "fd", "extractor": "lite0"}, "fd compares with the whole split"),
        ({"metric": "fd", "extractor": "Lite-0", "full": True}, "must be lower-case letters and digits"),
    ],
)
def test_a_contradictory_protocol_is_refused(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Protocol(images=10, **fields)


@pytest.mark.parametrize(
    ("name", "baselines"),
    [
        ("fid5k_full_validation_to_b", ("identity", "floor")),
        ("kd_lite0_5k_pairs_to_a", ("identity",)),
        ("pd_lite0_1k_validation_to_b_paired", ("identity", "mean", "nearest")),
        ("diversity100x19_validation_to_b", ("reals",)),
        ("is1k_validation_to_b", ()),
        ("fid5k_full", ()),
    ],
)
def test_numbers_of_translations_stand_beside_their_baselines(name: str, baselines: tuple[str, ...]) -> None:
    protocol = parse(name)
    assert protocol.baselines == tuple(f"{name}_{kind}" for kind in baselines)
    assert protocol.keys == (name, *protocol.baselines)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("fid1k_to_c", "'to_c' is no option"),
        ("fid1k_to", "'to' is no option"),
        ("cis100x100", "cis is taken of translations"),
        ("ppl_wend_to_b", "ppl is taken of samples"),
        ("l1_1k_to_b", "l1 compares translations with their counterparts; add _paired"),
        ("l1_1k_recon_paired", "only lpips, pd, l1, l2 of translations are paired"),
        ("fid1k_to_b_paired", "only lpips, pd, l1, l2 of translations are paired"),
        ("fid1k_recon_to_b", "its name is spelled fid1k_to_b"),
        ("pd1k_recon", "pd needs an extractor, as in pd_lite0_1k_recon"),
        ("fid1k_to_b_validation", "its name is spelled fid1k_validation_to_b"),
    ],
)
def test_a_name_of_translations_that_stands_for_nothing_is_refused(name: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        parse(name)
