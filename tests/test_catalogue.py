"""The catalogue against the facts: what is sent is what KIE takes, what is charged what it costs.

The facts (`generation/kie/facts.json`) are the fields and prices as KIE documents them; the
sandbox answers by them too.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from datetime import date
from decimal import Decimal
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from django.core.management import call_command

import generation.kie
from generation.catalogue.reading import Amount, Entry, read
from generation.models import KieModel, Operation
from generation.prompts import request_for
from generation.references import Sent
from projects.models import Take

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
    """Every order that can be made of a model: its resolution, and the input that KIE gets; with
    as few pictures going along as can be, and with as many."""
    model = KieModel(**entry.columns)
    prompt = "" if entry.prompt_use == "none" else "A lake"
    for resolution in entry.resolutions or [""]:
        for ratio in entry.ratios or [""]:
            if [ratio, resolution] in entry.impossible:
                continue
            for count in entry.counts or ["1"]:
                for pictures in (sent(model, "min"), sent(model, "max")):
                    yield (
                        resolution,
                        request_for(model, prompt, ratio, resolution, int(count), pictures)[
                            "input"
                        ],
                    )


def sent(model: KieModel, number: str) -> list[Sent]:
    """So many pictures as a model takes at least ("min") or at most ("max"), in every slot."""
    return [
        Sent(slot, Take(), "https://kie/1.png")
        for slot, field in model.takes.items()
        for _ in range(getattr(field, number))
    ]


def accepts(field: dict[str, Any], value: Any) -> bool:
    """Does KIE take this value in this field?"""
    # Where KIE takes both, we send the one text.
    kind = field["type"].removesuffix(" (url)").removesuffix(" | array<string>")
    if kind == "array<string>":
        return (
            isinstance(value, list)
            and all(isinstance(item, str) for item in value)
            and field.get("min_items", 1) <= len(value) <= field.get("max_items", len(value))
        )
    if not isinstance(value, TYPES[kind]):
        return False
    if isinstance(value, bool) != (kind == "boolean"):
        return False  # for Python, true is an integer
    if "enum" in field:
        return value in field["enum"]
    return "min" not in field or field["min"] <= value <= field["max"]


def holds(condition: dict[str, list[Any]], sent: dict[str, Any]) -> bool:
    return all(sent.get(name) in values for name, values in condition.items())


def test_every_image_model_is_there_and_no_other() -> None:
    assert FACTS_OF.keys() == ENTRIES.keys()
    assert len(ENTRIES) == 67


@every_model
def test_every_model_can_be_ordered_for_something(entry: Entry) -> None:
    model = KieModel(**entry.columns)
    assert model.operations
    # A new picture needs words, and no other picture than those of the cast.
    others = [f for f in entry.picture_fields if f["slot"] != "reference" and f["min"]]
    assert (Operation.GENERATE in model.operations) == (entry.prompt_use != "none" and not others)


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
        assert not one_of or sum(sent.keys() >= set(names) for names in one_of) == 1


@every_model
def test_no_order_is_one_that_the_model_refuses(entry: Entry) -> None:
    refuses = FACTS_OF[entry.model_id].get("refuses", [])
    for _, sent in orders_of(entry):
        assert not any(holds(condition, sent) for condition in refuses), sent


@every_model
def test_only_what_the_model_refuses_is_called_impossible(entry: Entry) -> None:
    refuses = FACTS_OF[entry.model_id].get("refuses", [])
    for ratio, resolution in entry.impossible:
        sent = request_for(KieModel(**entry.columns), "A lake", ratio, resolution, 1)["input"]
        assert any(holds(condition, sent) for condition in refuses), sent


@every_model
def test_every_ratio_means_what_it_says_and_none_is_forgotten(entry: Entry) -> None:
    if not entry.ratio_field:
        assert not any(name in fields_of(entry) for name in ("aspect_ratio", "image_size"))
        return
    named: dict[str, str] = FACTS["named_sizes"]
    assert {named.get(sent, sent) for sent in entry.ratios.values()} == entry.ratios.keys()
    assert all(named.get(sent, sent) == ratio for ratio, sent in entry.ratios.items())
    left_out = set(fields_of(entry)[entry.ratio_field]["enum"]) - set(entry.ratios.values())
    # 512 pixels are no picture; of the user's model only the shapes of Seedream 3.0 are offered.
    # “auto” is as the picture that goes along.
    odd = {"square"} if entry.picture_fields else {"auto", "square"}
    assert left_out <= ({"2:3", "3:2", "21:9"} if entry.model_id == USERS else odd)


@every_model
def test_every_resolution_is_offered_and_the_default_is_first(entry: Entry) -> None:
    if not entry.resolution_field:
        assert len(entry.resolutions) <= 1
        return
    if not entry.resolutions:
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
def test_the_number_of_pictures_is_always_sent(entry: Entry) -> None:
    """KIE's default may be four, each of them billed."""
    counted_by = FACTS_OF[entry.model_id].get("outputs", {}).get("count_field")
    assert not counted_by or counted_by in {entry.count_field, *entry.constants}
    for count, value in entry.counts.items():
        assert str(value) == count


@every_model
def test_a_prompt_may_be_as_long_as_documented(entry: Entry) -> None:
    prompt = fields_of(entry).get("prompt")
    if prompt is None:
        assert entry.prompt_use == "none"
        return
    assert entry.prompt_max_length == prompt.get("max_length")
    assert entry.prompt_min_length == max(1, prompt.get("min_length", 1))
    assert not prompt["required"] or entry.prompt_use == "required"


@pytest.mark.parametrize("name", sorted(ENTRIES.keys() - {NO_KNOWN_PRICE}))
def test_every_order_costs_what_kie_takes(name: str) -> None:
    """The tiers of the facts, exactly: a price for what differs in price, and the same everywhere
    else. Layers are priced as the number of them that the sandbox makes."""
    entry, price = ENTRIES[name], FACTS_OF[name]["price"]
    pictures = FACTS_OF[name]["outputs"]["fixed"] if "layer-decomposition" in entry.modality else 1
    if entry.price_edges:
        edges = {tier.get("up_to_edge", 8192): tier["credits"] for tier in price["tiers"]}
        assert {
            edge: entry.prices[n].credits / 100 for n, edge in entry.price_edges.items()
        } == edges
        return
    for resolution, sent in orders_of(entry):
        tier = next(tier for tier in price["tiers"] if holds(tier["when"], sent))
        extra = price.get("per_input", {"credits": 0, "free": 0})
        expected = replace(
            amount(tier["credits"] * pictures),
            reference_credits=amount(extra["credits"]).credits,
            reference_cost=amount(extra["credits"]).cost,
            free_references=extra["free"],
        )
        assert entry.prices[resolution] == expected, resolution


def amount(credits: float) -> Amount:
    exact = Decimal(str(credits))
    usd = exact * Decimal(str(FACTS["credit_usd"]))
    return Amount(int(exact * 100), int(usd * 1_000_000))


def test_what_may_cost_otherwise_is_not_offered() -> None:
    idle = {entry.model_id for entry in ENTRIES.values() if not entry.active}
    layers = {name for name, entry in ENTRIES.items() if "layer-decomposition" in entry.modality}
    assert idle == {
        NO_KNOWN_PRICE,
        "nano-banana-2-1",
        "grok-imagine-image-2-0/segment-map",
        *layers,
    }
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
