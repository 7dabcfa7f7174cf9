"""Rows of the table of metrics: complete, without contradictions, and read by protocols and their names."""

from dataclasses import fields

import pytest

from alae_core.metrics.protocol import Protocol
from alae_core.metrics.protocol_names import ALIASES, known, parse
from alae_core.metrics.table import METRICS, Metric, having

EVERY = pytest.mark.parametrize("name", METRICS)
FIELDS = {field.name for field in fields(Protocol)}


@EVERY
def test_a_row_has_words_for_people_a_source_and_usual_names(name: str) -> None:
    row = METRICS[name]
    assert all(len(text) > 2 for text in (row.title, row.unit, row.source))
    assert row.title[0].islower() or row.title.split()[0] in ("Fréchet", "Inception")
    assert row.usual and row.of
    assert {parse(usual).metric for usual in row.usual} == {name}


@EVERY
def test_a_row_names_fields_that_protocols_have_and_contradicts_itself_in_none(name: str) -> None:
    row = METRICS[name]
    assert {*row.needs, *row.options, *row.unused} <= FIELDS
    assert not set(row.unused) & {*row.needs, *row.options}
    assert row.extractor == "" or row.extractor in row.extractors
    assert bool(row.unnamed) == bool(row.extractors and not row.extractor), "a name must say what takes the features"
    assert bool(row.repeated) == ("each" in row.needs)
    assert not (row.perceptual or row.classes or row.compares) or row.extractors
    assert not row.baselines or "translations" in row.of
    assert not row.paired or "translations" in row.of
    assert not row.keys or not row.baselines


@EVERY
def test_a_metric_that_has_another_name_over_an_extractor_is_called_by_it(name: str) -> None:
    for extractor, other in METRICS[name].called.items():
        assert METRICS[other].extractors
        assert extractor == "" or extractor in METRICS[other].extractors


def test_no_row_is_the_same_as_another_and_no_word_stands_for_two_metrics() -> None:
    assert len({row.title for row in METRICS.values()}) == len(METRICS)
    assert all(isinstance(row, Metric) and name.isalnum() and name.islower() for name, row in METRICS.items())


def test_the_better_side_of_a_metric_is_that_of_its_paper() -> None:
    sides = {side: {name for name, row in METRICS.items() if row.better == side} for side in ("higher", "neither")}
    assert sides == {"higher": {"pr", "is", "cis", "probe1nn", "probesvm"}, "neither": {"msssim", "diversity"}}


def test_metrics_are_found_by_what_their_rows_say() -> None:
    assert having(probe=True) == ("probe1nn", "probesvm")
    assert having(perceptual=True, paired=True) == ("lpips", "pd")


def test_the_known_names_are_those_of_the_rows_and_of_other_codes() -> None:
    assert set(known()) == {usual for row in METRICS.values() for usual in row.usual} | set(ALIASES)
    assert len(known()) == len(set(known()))
