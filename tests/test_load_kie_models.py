"""manage.py load_kie_models: what a file may say, and what loading it changes and leaves alone."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.core.management import CommandError, call_command

from generation.catalogue import loading
from generation.models import Generation, KieModel, Price
from projects.models import Take

MODEL: dict[str, Any] = {
    "model_id": "acme/painter",
    "name": "Painter",
    "vendor": "Acme",
    "modality": ["text-to-image"],
    "prompt_max_length": 500,
    "ratio_field": "image_size",
    "ratios": {"1:1": "square_hd", "16:9": "landscape_16_9"},
    "resolution_field": "quality",
    "resolutions": {"2K": "basic", "4K": "high"},
    "impossible": [["1:1", "4K"]],
    "constants": {"n": 1},
    "prices": {"2K": {"credits": 3.24, "usd": 0.0162}, "4K": {"credits": 7, "usd": 0.035}},
    "quirks": ["Slow on Sundays."],
    "source": "https://example.com/painter",
    "as_of": "2026-08-19",
}

Load = Callable[..., str]
Change = Callable[[dict[str, Any]], Any]


@pytest.fixture
def load(tmp_path: Path) -> Load:
    """Runs the command on a file with these models, and returns what it printed."""

    def run(*models: dict[str, Any], dry_run: bool = False) -> str:
        file = tmp_path / "models.json"
        file.write_text(json.dumps({"title": "T", "as_of": "2026-10-02", "models": models}))
        return load_file(file, dry_run=dry_run)

    return run


def load_file(file: Path, *, dry_run: bool = False) -> str:
    out = StringIO()
    call_command("load_kie_models", file=file, dry_run=dry_run, stdout=out)
    return out.getvalue()


def painter(**changes: Any) -> dict[str, Any]:
    return copy.deepcopy(MODEL) | changes


def everything() -> list[Any]:
    return [*KieModel.objects.order_by("pk").values(), *Price.objects.order_by("pk").values()]


def prices() -> list[tuple[str, int, int]]:
    return list(Price.objects.order_by("pk").values_list("resolution", "credits", "cost"))


@pytest.mark.django_db
def test_a_new_model_gets_its_columns_and_a_price_per_resolution(load: Load) -> None:
    printed = load(painter(aliases=["acme/old-painter"]))

    model = KieModel.objects.get()
    assert model == KieModel.objects.named("acme/old-painter")
    assert (model.name, model.vendor, model.prompt_max_length) == ("Painter", "Acme", 500)
    assert model.ratios == {"1:1": "square_hd", "16:9": "landscape_16_9"}
    assert model.resolutions == {"2K": "basic", "4K": "high"}
    assert model.impossible == [["1:1", "4K"]]
    assert model.constants == {"n": 1}
    assert model.is_active
    assert prices() == [("2K", 324, 16_200), ("4K", 700, 35_000)]
    assert "created    acme/painter" in printed


@pytest.mark.django_db
def test_a_price_for_any_resolution_is_written_for_each(load: Load) -> None:
    load(painter(prices={"any": {"credits": 5, "usd": 0.025}}))
    assert prices() == [("2K", 500, 25_000), ("4K", 500, 25_000)]


@pytest.mark.django_db
def test_a_model_without_resolutions_has_one_price(load: Load) -> None:
    model = painter(prices={"any": {"credits": 0.8, "usd": 0.004}})
    for field in ("resolution_field", "resolutions", "impossible"):
        del model[field]
    load(model)
    assert prices() == [("", 80, 4_000)]


@pytest.mark.django_db
def test_twice_changes_nothing() -> None:
    call_command("load_kie_models", stdout=StringIO())
    before = everything()

    out = StringIO()
    call_command("load_kie_models", stdout=out)

    assert everything() == before
    assert "0 created, 0 updated, 67 unchanged; 0 kept" in out.getvalue()


@pytest.mark.django_db
def test_what_the_file_changed_is_updated_and_told(load: Load) -> None:
    load(painter())
    printed = load(painter(as_of="2026-11-01", constants={"n": 2}, quirks=[]))

    model = KieModel.objects.get()
    assert (str(model.as_of), model.constants, model.quirks) == ("2026-11-01", {"n": 2}, [])
    assert "updated    acme/painter" in printed
    assert "constants: {'n': 1} -> {'n': 2}" in printed
    assert "name" not in printed


@pytest.mark.django_db
def test_another_first_resolution_is_another_default(load: Load) -> None:
    load(painter())
    printed = load(painter(resolutions={"4K": "high", "2K": "basic"}))

    assert KieModel.objects.get().default_resolution == "4K"
    assert "default_resolution: '2K' -> '4K'" in printed


@pytest.mark.django_db
def test_what_staff_changed_is_kept_and_told_every_time(load: Load) -> None:
    load(painter())
    KieModel.objects.update(name="Our painter", constants={"n": 4})

    for _ in range(2):
        printed = load(painter(name="Painter II", vendor="Acme Ltd"))
        assert "kept name: 'Our painter' (the file has 'Painter II')" in printed
        assert "kept constants: {'n': 4} (the file has {'n': 1})" in printed

    model = KieModel.objects.get()
    assert (model.name, model.constants) == ("Our painter", {"n": 4})
    assert model.vendor == "Acme Ltd"  # the rest follows the file


EDITOR: dict[str, Any] = {
    "model_id": "acme/editor",
    "name": "Editor",
    "vendor": "Acme",
    "modality": ["image-to-image", "edit"],
    "prompt_use": "optional",
    "prompt_min_length": 3,
    "count_field": "n",
    "counts": {"1": "1", "4": "4"},
    "picture_fields": [
        {"field": "urls", "slot": "reference", "min": 1, "max": 8, "is_list": True, "max_mb": 10}
    ],
    "resolution_field": "factor",
    "resolutions": {"2×": "2"},
    "price_edges": {"2K": 2048, "4K": 4096},
    "prices": {
        "any": {
            "credits": 5,
            "usd": 0.025,
            "reference": {"credits": 0.5, "usd": 0.0025, "free": 1},
        }
    },
    "source": "https://example.com/editor",
    "as_of": "2026-08-19",
}
# What the file changes, and what staff have there instead.
OWN: dict[str, tuple[Any, Any]] = {
    "prompt_use": ("required", "none"),
    "prompt_min_length": (5, 7),
    "count_field": ("count", "number"),
    "counts": ({"1": "1", "2": "2"}, {"1": "one"}),
    "picture_fields": (
        [{"field": "images", "slot": "reference", "min": 0, "max": 4, "is_list": True}],
        [{"field": "ours", "slot": "source", "min": 1, "max": 1, "is_list": False}],
    ),
    "price_edges": ({"2K": 2000, "4K": 4000}, {"2K": 1999, "4K": 3999}),
}


@pytest.mark.django_db
@pytest.mark.parametrize("column", OWN)
def test_every_column_follows_the_file_until_staff_change_it(load: Load, column: str) -> None:
    file, staffs = OWN[column]
    load(copy.deepcopy(EDITOR))
    assert f"{column}: " in load(copy.deepcopy(EDITOR) | {column: file}, dry_run=True)
    assert getattr(KieModel.objects.get(), column) == EDITOR[column]
    assert f"{column}: " in load(copy.deepcopy(EDITOR) | {column: file})
    assert getattr(KieModel.objects.get(), column) == file

    KieModel.objects.update(**{column: staffs})
    kept = getattr(KieModel.objects.get(), column)  # PostgreSQL orders an object's keys anew
    printed = load(copy.deepcopy(EDITOR))
    assert f"kept {column}: {kept!r} (the file has {EDITOR[column]!r})" in printed
    assert getattr(KieModel.objects.get(), column) == staffs
    assert loading.own_changes(KieModel.objects.get()).keys() == {column}


@pytest.mark.django_db
def test_a_references_price_is_dated_and_staffs_own_is_kept(load: Load) -> None:
    load(copy.deepcopy(EDITOR))
    dearer = copy.deepcopy(EDITOR)
    dearer["prices"]["any"]["reference"] = {"credits": 1, "usd": 0.005, "free": 2}
    printed = load(dearer)
    assert "+ 0.5 credits ($0.0025) per reference beyond 1 -> " in printed
    assert "+ 1 credits ($0.005) per reference beyond 2" in printed
    assert Price.objects.count() == 4
    newest = Price.objects.filter(resolution="4K")[0]
    assert (newest.reference_credits, newest.reference_cost, newest.free_references) == (
        100,
        5_000,
        2,
    )

    KieModel.objects.get().prices.create(
        resolution="4K", credits=500, cost=25_000, reference_credits=300, reference_cost=15_000
    )
    printed = load(copy.deepcopy(EDITOR))
    assert "kept price of 4K: 5 credits ($0.025) + 3 credits ($0.015) per reference" in printed
    assert Price.objects.filter(resolution="4K")[0].reference_credits == 300
    assert Price.objects.filter(resolution="2K")[0].reference_credits == 50
    changes = loading.own_changes(KieModel.objects.get())
    assert changes.keys() == {"prices 4K"}


@pytest.mark.django_db
def test_the_replacement_and_the_sample_are_staffs_own(load: Load) -> None:
    alice = User.objects.create_user("alice")
    load(copy.deepcopy(EDITOR), painter())
    other, model = KieModel.objects.order_by("-name")
    sample = Take.objects.create(made_by=alice, image="a.png", thumbnail="a.webp")
    KieModel.objects.filter(pk=model.pk).update(replacement=other, sample=sample)
    load(copy.deepcopy(EDITOR) | {"prompt_min_length": 5}, painter())
    model.refresh_from_db()
    assert (model.prompt_min_length, model.replacement, model.sample) == (5, other, sample)
    assert loading.own_changes(model) == {}


@pytest.mark.django_db
def test_a_column_goes_back_to_the_file_when_staff_take_its_value(load: Load) -> None:
    load(painter())
    KieModel.objects.update(name="Our painter")
    load(painter(name="Painter II"))
    KieModel.objects.update(name="Painter II")

    load(painter(name="Painter III"))

    assert KieModel.objects.get().name == "Painter III"


@pytest.mark.django_db
def test_is_active_and_the_id_sent_are_never_touched(load: Load) -> None:
    load(painter(active=False))
    assert not KieModel.objects.get().is_active
    KieModel.objects.update(is_active=True, api_model_id="acme/painter-v2")

    load(painter(active=False, name="Painter II"))

    model = KieModel.objects.get()
    assert (model.name, model.is_active, model.sent_id) == ("Painter II", True, "acme/painter-v2")


@pytest.mark.django_db
def test_a_model_that_staff_made_first_keeps_what_they_wrote(load: Load) -> None:
    KieModel.objects.create(model_id="acme/painter", name="By hand", vendor="Acme")

    printed = load(painter())

    model = KieModel.objects.get()
    assert model.name == "By hand"
    assert model.resolutions == {"2K": "basic", "4K": "high"}  # they had left it empty
    assert "kept name" in printed
    assert len(prices()) == 2


@pytest.mark.django_db
def test_a_changed_price_is_a_new_row_and_orders_keep_theirs(load: Load) -> None:
    load(painter())
    first = list(Price.objects.values())
    alice = User.objects.create_user("alice")
    order = Generation.objects.create(
        ordered_by=alice,
        order_key="click",
        provider="kie",
        model=KieModel.objects.get(),
        prompt="A lake",
        aspect_ratio="16:9",
        resolution="2K",
        request={},
        price=324,
        kie_credits=324,
        cost=16_200,
    )

    model = painter()
    model["prices"]["2K"] = {"credits": 4, "usd": 0.02}
    printed = load(model)

    assert list(Price.objects.filter(pk__in=[p["id"] for p in first]).values()) == first
    assert Price.objects.count() == 3
    newest = Price.objects.filter(resolution="2K").first()
    assert newest is not None
    assert (newest.credits, newest.cost) == (400, 20_000)
    assert newest.since > max(p["since"] for p in first)
    order.refresh_from_db()
    assert (order.price, order.kie_credits, order.cost) == (324, 324, 16_200)
    assert "price of 2K: 3.24 credits ($0.0162) -> 4 credits ($0.02)" in printed
    assert "price of 4K" not in printed


@pytest.mark.django_db
def test_a_price_that_staff_added_is_kept_and_told(load: Load) -> None:
    load(painter())
    KieModel.objects.get().prices.create(resolution="2K", credits=900, cost=45_000)

    model = painter()
    model["prices"] = {"any": {"credits": 8, "usd": 0.04}}
    printed = load(model)

    assert prices()[2:] == [("2K", 900, 45_000), ("4K", 800, 40_000)]
    assert "kept price of 2K: 9 credits ($0.045) (the file has 8 credits ($0.04))" in printed


@pytest.mark.django_db
def test_a_dry_run_tells_all_and_writes_nothing(load: Load) -> None:
    assert "created    acme/painter" in load(painter(), dry_run=True)
    assert everything() == []

    load(painter())
    before = everything()
    model = painter(name="Painter II")
    model["prices"]["2K"]["credits"] = 4
    printed = load(model, dry_run=True)

    assert everything() == before
    assert "name: 'Painter' -> 'Painter II'" in printed
    assert "price of 2K: 3.24 credits" in printed
    assert "nothing was written" in printed


@pytest.mark.django_db
def test_a_model_that_left_the_file_stays_and_is_told(load: Load) -> None:
    KieModel.objects.create(model_id="staffs/own", name="Own", vendor="Staff")
    load(painter())

    printed = load(painter(model_id="acme/sculptor"))

    assert KieModel.objects.filter(model_id="acme/painter", is_active=True).exists()
    assert "left       acme/painter" in printed
    assert "staffs/own" not in printed


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda m: m.update(colour="red"), "colour: is not a field"),
        (lambda m: m.update(is_active=False), "is_active: is not a field"),
        (lambda m: m.pop("vendor"), "vendor: is missing"),
        (lambda m: m.update(name=7), "name: 7 is not a str"),
        (lambda m: m.update(name=""), "name: "),
        (lambda m: m.update(name="x" * 121), "name: "),
        (lambda m: m.update(modality=[]), "modality: "),
        (lambda m: m.update(active="no"), "active: 'no' is not a bool"),
        (lambda m: m.update(prompt_max_length=True), "prompt_max_length: True is not a int"),
        (lambda m: m.update(prompt_max_length=-1), "prompt_max_length: "),
        (lambda m: m.update(as_of="August"), "as_of: 'August' is not a date"),
        (lambda m: m.update(quirks="slow"), "quirks: 'slow' is not a list"),
        (lambda m: m.update(aliases=[3]), "aliases: 3 is not a text"),
        (lambda m: m.update(aliases=["acme/painter"]), "aliases: 'acme/painter' stands twice"),
        (lambda m: m.pop("ratio_field"), "ratios: There is no aspect ratio field"),
        (lambda m: m.pop("ratios"), "ratios: Name the ratios"),
        (lambda m: m["ratios"].update({"wide": "x"}), "ratios: “wide” is not a ratio"),
        (lambda m: m["ratios"].update({"4:3": 43}), "ratios: What is sent for 4:3 must be a text"),
        (
            lambda m: [m.pop("resolutions"), m.update(prices={"any": m["prices"]["4K"]})],
            "resolutions: Name the resolutions",
        ),
        (lambda m: m.pop("resolution_field"), "resolutions: There is no resolution field"),
        (
            lambda m: [
                m["resolutions"].update({"2k": "x"}),
                m.update(prices={"any": m["prices"]["4K"]}),
            ],
            "resolutions: Two resolutions differ",
        ),
        (
            lambda m: [
                m["resolutions"].update({"8K": None}),
                m.update(prices={"any": m["prices"]["4K"]}),
            ],
            "resolutions: What is sent for 8K must be",
        ),
        (lambda m: m["resolutions"].update({"8K": "x"}), "prices: no price for '8K'"),
        (lambda m: m["prices"].pop("4K"), "prices: no price for '4K'"),
        (lambda m: m["prices"].update({"8K": m["prices"]["4K"]}), "prices: '8K' is not in"),
        (lambda m: m["prices"].update({"4K": 7}), "prices: 4K: must have credits and usd"),
        (lambda m: m["prices"]["4K"].update(eur=1), "prices: 4K: must have credits and usd"),
        (lambda m: m["prices"]["4K"].update(credits=3.245), "prices: 4K: 3.245 must be"),
        (lambda m: m["prices"]["4K"].update(credits=0), "prices: 4K: 0 must be above 0"),
        (lambda m: m["prices"]["4K"].update(credits=float("nan")), "prices: 4K: nan must be"),
        (lambda m: m["prices"]["4K"].update(usd="0.1"), "prices: 4K: '0.1' is not a number"),
        (lambda m: m.update(impossible=[["9:16", "4K"]]), "impossible: 9:16 is not one"),
        (lambda m: m.update(impossible=[["1:1", "8K"]]), "impossible: 8K is not one of"),
        (lambda m: m.update(impossible=["4K"]), "impossible: 4K is not a pair"),
        (lambda m: m.update(constants={"prompt": "x"}), "constants: “prompt” is written by"),
        (lambda m: m.update(constants={"quality": "x"}), "constants: “quality” is written by"),
    ],
)
def test_a_bad_model_is_refused_by_name_and_field(load: Load, change: Change, said: str) -> None:
    model = painter(model_id="acme/broken")
    change(model)
    with pytest.raises(CommandError) as refusal:
        load(painter(), model)
    assert f"acme/broken: {said}" in str(refusal.value)
    assert everything() == []


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{", "models.json: JSON: "),
        ("[]", "models.json: JSON: not an object"),
        ('{"as_of": "2026-10-02", "models": []}', "models.json: title: is missing"),
        ('{"title": "T", "models": []}', "models.json: as_of: is missing"),
        ('{"title": "T", "as_of": "2026-10-02"}', "models.json: models: is missing"),
        ('{"title": "T", "as_of": "2026-10-02", "models": [], "x": 1}', "x: is not a field"),
        ('{"title": "T", "as_of": "2026-10-02", "models": [7]}', "model 1: block: not an object"),
        ('{"title": "T", "as_of": "2026-10-02", "models": [{}]}', "model 1: "),
        ('{"title": "T", "title": "U"}', "models.json: title: stands twice"),
    ],
)
def test_a_bad_file_is_refused(tmp_path: Path, text: str, said: str) -> None:
    file = tmp_path / "models.json"
    file.write_text(text)
    with pytest.raises(CommandError) as refusal:
        load_file(file)
    assert said in str(refusal.value)


def test_a_key_that_stands_twice_in_a_model_is_refused(tmp_path: Path) -> None:
    text = json.dumps({"title": "T", "as_of": "2026-10-02", "models": [MODEL]})
    file = tmp_path / "models.json"
    file.write_text(text.replace('"2K": "basic"', '"2K": "high", "2K": "basic"'))
    with pytest.raises(CommandError, match="acme/painter: resolutions: '2K' stands twice"):
        load_file(file)


def test_two_models_with_one_id_are_refused(load: Load) -> None:
    with pytest.raises(CommandError, match="acme/painter: model_id: 'acme/painter' stands twice"):
        load(painter(), painter())


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CommandError, match=r"nowhere\.json"):
        load_file(tmp_path / "nowhere.json")
