"""The catalogue against the facts: what is sent is what KIE takes, what is charged what it costs.

The facts (`generation/kie/facts.json`) are the fields and prices as KIE documents them; the
sandbox answers by them too.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import date
from decimal import Decimal
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from django.core.management import call_command

import generation.kie
from generation.catalogue.reading import Amount, Entry, read
from generation.models import KieModel
from generation.prompts import request_for

FACTS: dict[str, Any] = json.loads(
    (Path(generation.kie.__file__).parent / "facts.json").read_text(encoding="utf-8")
)
FACTS_OF: dict[str, dict[str, Any]] = {facts["id"]: facts for facts in FACTS["models"]}
ENTRIES = {entry.model_id: entry for entry in read().entries}
USERS = "seedream-3.0/2k"  # the model of the user's document, which KIE's own lists do not have
NO_KNOWN_PRICE = "flux1-kontext"
TYPES: dict[str, type | tuple[type, ...]] = {
    "string": str,
    "boolean": bool,
    "integer": int,
    "number": (int, float),
}

every_model = pytest.mark.parametrize("entry", ENTRIES.values(), ids=ENTRIES)


def fields_of(entry: Entry) -> dict[str, dict[str, Any]]:
    return {field["name"]: field for field in FACTS_OF[entry.model_id]["input_schema"]}


def orders_of(entry: Entry) -> Iterator[tuple[str, dict[str, Any]]]:
    """Every order that can be made of a model: its resolution, and the input that KIE gets."""
    model = KieModel(**entry.columns)
    for resolution in entry.resolutions or [""]:
        for ratio in entry.ratios:
            if [ratio, resolution] not in entry.impossible:
                yield resolution, request_for(model, "A lake", ratio, resolution)["input"]


def accepts(field: dict[str, Any], value: Any) -> bool:
    """Does KIE take this value in this field?"""
    if not isinstance(value, TYPES[field["type"]]):
        return False
    if isinstance(value, bool) != (field["type"] == "boolean"):
        return False  # for Python, true is an integer
    if "enum" in field:
        return value in field["enum"]
    return "min" not in field or field["min"] <= value <= field["max"]


def holds(condition: dict[str, list[Any]], sent: dict[str, Any]) -> bool:
    return all(sent.get(name) in values for name, values in condition.items())


def test_every_text_to_image_model_is_there_and_no_other() -> None:
    expected = {name for name, facts in FACTS_OF.items() if "text-to-image" in facts["modality"]}
    assert expected == ENTRIES.keys()
    assert len(expected) == 34


@every_model
def test_every_field_that_is_sent_takes_what_is_sent(entry: Entry) -> None:
    fields = fields_of(entry)
    for _, sent in orders_of(entry):
        assert {name for name, value in sent.items() if not accepts(fields[name], value)} == set()


@every_model
def test_every_required_field_is_sent(entry: Entry) -> None:
    required = {name for name, field in fields_of(entry).items() if field["required"]}
    one_of = FACTS_OF[entry.model_id].get("one_of", [])
    for _, sent in orders_of(entry):
        assert required <= sent.keys()
        assert not one_of or sent.keys() & set(one_of)


@every_model
def test_no_order_is_one_that_the_model_refuses(entry: Entry) -> None:
    refuses = FACTS_OF[entry.model_id].get("refuses", [])
    for _, sent in orders_of(entry):
        assert not any(holds(condition, sent) for condition in refuses), sent


@every_model
def test_only_what_the_model_refuses_is_called_impossible(entry: Entry) -> None:
    refuses = FACTS_OF[entry.model_id].get("refuses", [])
    for ratio, resolution in entry.impossible:
        sent = request_for(KieModel(**entry.columns), "A lake", ratio, resolution)["input"]
        assert any(holds(condition, sent) for condition in refuses), sent


@every_model
def test_every_ratio_means_what_it_says_and_none_is_forgotten(entry: Entry) -> None:
    named: dict[str, str] = FACTS["named_sizes"]
    assert {named.get(sent, sent) for sent in entry.ratios.values()} == entry.ratios.keys()
    assert all(named.get(sent, sent) == ratio for ratio, sent in entry.ratios.items())
    left_out = set(fields_of(entry)[entry.ratio_field]["enum"]) - set(entry.ratios.values())
    # 512 pixels are no picture; of the user's model only the shapes of Seedream 3.0 are offered.
    assert left_out <= ({"2:3", "3:2", "21:9"} if entry.model_id == USERS else {"auto", "square"})


@every_model
def test_every_resolution_is_offered_and_the_default_is_first(entry: Entry) -> None:
    if not entry.resolution_field:
        assert len(entry.resolutions) <= 1
        return
    field = fields_of(entry)[entry.resolution_field]
    values = list(entry.resolutions.values())
    assert set(values) == set(field.get("enum", (False, True)))
    assert values[0] == field.get("default", field.get("effective_default", values[0]))


@every_model
def test_a_quality_that_means_a_size_is_called_by_it(entry: Entry) -> None:
    meaning = (FACTS_OF[entry.model_id].get("resolution") or {}).get("meaning", {})
    for resolution, sent in entry.resolutions.items():
        assert meaning.get(sent, resolution) == resolution


@every_model
def test_every_order_is_for_one_picture_where_that_can_be_said(entry: Entry) -> None:
    counted_by = FACTS_OF[entry.model_id].get("outputs", {}).get("count_field")
    assert not counted_by or entry.constants[counted_by] == 1


@every_model
def test_a_prompt_may_be_as_long_as_documented(entry: Entry) -> None:
    assert entry.prompt_max_length == fields_of(entry)["prompt"].get("max_length")


@pytest.mark.parametrize("name", sorted(ENTRIES.keys() - {NO_KNOWN_PRICE}))
def test_every_order_costs_what_kie_takes(name: str) -> None:
    entry = ENTRIES[name]
    tiers = FACTS_OF[name]["price"]["tiers"]
    for resolution, sent in orders_of(entry):
        tier = next(tier for tier in tiers if holds(tier["when"], sent))
        assert entry.prices[resolution] == amount(tier["credits"]), resolution


def amount(credits: float) -> Amount:
    exact = Decimal(str(credits))
    usd = exact * Decimal(str(FACTS["credit_usd"]))
    return Amount(int(exact * 100), int(usd * 1_000_000))


def test_what_may_cost_otherwise_is_not_offered() -> None:
    idle = {entry.model_id for entry in ENTRIES.values() if not entry.active}
    assert idle == {NO_KNOWN_PRICE, "nano-banana-2-1"}
    assert ENTRIES[NO_KNOWN_PRICE].prices == {"": Amount(1000, 50_000)}  # the dearer of the two


def test_fractions_of_a_credit_are_exact() -> None:
    assert ENTRIES["seedream/5-flash-text-to-image"].prices["1.5K"] == Amount(324, 16_200)


def test_the_users_own_model_is_as_in_their_document() -> None:
    entry = ENTRIES[USERS]
    assert (entry.name, entry.vendor) == ("Seedream 3.0 (2K)", "ByteDance")
    assert entry.modality == ["text-to-image"]
    assert entry.prices == {"2K": Amount(credits=600, cost=30_000)}
    assert entry.active
    assert {"1:1", "16:9"} <= entry.ratios.keys()
    assert any("bytedance/seedream" in quirk for quirk in entry.quirks)


@every_model
def test_every_model_says_where_its_facts_stand(entry: Entry) -> None:
    assert entry.source
    assert date(2026, 1, 1) <= entry.as_of <= read().as_of


@pytest.fixture
def loaded(db: None) -> None:
    call_command("load_kie_models", stdout=StringIO())


@pytest.mark.usefixtures("loaded")
def test_the_users_request_is_written_as_in_their_document() -> None:
    model = KieModel.objects.named(USERS)
    assert model is not None
    resolution = model.resolution_named("2k")
    assert resolution == "2K"
    assert request_for(model, "A beautiful landscape...", "16:9", resolution) == {
        "model": "seedream-3.0/2k",
        "input": {"prompt": "A beautiful landscape...", "aspect_ratio": "16:9"},
    }


@pytest.mark.usefixtures("loaded")
def test_the_documents_spelling_of_seedream_4_5_is_an_alias() -> None:
    model = KieModel.objects.named("seedream/4-5-text-to-image")
    assert model is not None
    assert model.sent_id == "seedream/4.5-text-to-image"


@pytest.mark.usefixtures("loaded")
def test_the_default_resolution_is_the_files_first_in_every_database() -> None:
    """PostgreSQL's jsonb sorts an object's keys: "high" (22 credits) before "medium" (4)."""
    expected = {entry.model_id: next(iter(entry.resolutions), "") for entry in ENTRIES.values()}
    assert {m.model_id: m.default_resolution for m in KieModel.objects.all()} == expected
