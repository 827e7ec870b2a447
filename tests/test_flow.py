"""The flow page and manage.py image_flow: what they tell is what happens."""

from __future__ import annotations

import json
import logging
import re
import socket
import time
from collections.abc import Iterator
from io import StringIO
from pathlib import Path
from typing import Any

import django_rq
import pytest
from django.contrib.auth.models import User
from django.core.cache import cache
from django.core.management import CommandError, call_command
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from playwright.sync_api import Page, expect
from rq import Worker

from credits import ledger
from credits.models import LedgerEntry
from generation import checkup, doorbell, lifecycle, steps, summary
from generation.flow import Flow, flow
from generation.kie.sandbox import Options, Sandbox
from generation.models import Generation, ImageSettings, KieModel, State
from projects.access import issue_token
from projects.models import Character, Member, Project, Role, Scene
from tests import servers
from tests.test_jobs import ENDS, go_on_when_asked, take_steps

pytestmark = pytest.mark.django_db

DOCUMENT = (
    "Current Configuration",
    "Model Details from Database",
    'What Happens When You Click "Generate Image"',
    "1. **UI → Client Hook**",
    "2. **API Route Processing**",
    "3. **KIE.ai API Call**",
    "4. **KIE.ai Processes Request**",
    "5. **Polling for Completion**",
    "6. **Credit Deduction**",
    "7. **Result Stored**",
    "Server Logs You'll See",
    "Summary",
)


@pytest.fixture
def film(project: Project, catalogue: None) -> Project:
    """The project of the user's document, with a scene, its cast and 250 credits."""
    ImageSettings.objects.create(
        project=project,
        provider="kie",
        model="seedream-3.0/2k",
        character_aspect_ratio="1:1",
        scene_aspect_ratio="16:9",
        scene_resolution="2k",
    )
    project.style = "35 mm"
    project.save()
    Scene.objects.create(project=project, number="1", position=1, title="Ešte bez opisu")
    scene = Scene.objects.create(
        project=project, number="2", position=2, title="Duny", description="Duny „pri západe“"
    )
    miro = Character.objects.create(project=project, name="Miro", description="geológ")
    scene.cast.set([miro])
    ledger.grant(
        ledger.ledger_of(project.owner), 25_000, reference="g", about=ledger.About(type="grant")
    )
    return project


@pytest.fixture
def kie(settings: Any) -> Iterator[Sandbox]:
    with Sandbox(Options(seconds=0.2, rate=0, largest_edge=256)) as sandbox:
        settings.KIE_API_URL = settings.KIE_UPLOAD_URL = sandbox.url
        yield sandbox


def change(project: Project, **fields: str) -> Project:
    """Other image settings; the project as a request would find it."""
    ImageSettings.objects.filter(project=project).update(**fields)
    return Project.objects.get(pk=project.pk)


def step(found: Flow, number: int) -> steps.Step:
    return found.steps[number - 1]


def code(found: Flow, number: int, caption: str) -> str:
    (text,) = [code.text for code in step(found, number).codes if code.caption == caption]
    return text


def body(text: str) -> Any:
    """The JSON of a block, behind its headers if it has any."""
    return json.loads(text.rpartition("\n\n")[2])


def check(found: Flow, label: str) -> summary.Check:
    (only,) = [check for check in found.checks if check.label == label]
    return only


class TestTheDocument:
    def test_current_configuration(self, film: Project) -> None:
        assert [(s.label, s.value, s.source) for s in flow(film).settings] == [
            ("Provider", "kie", "project.modelConfig.image.provider"),
            ("Model", "seedream-3.0/2k", "project.modelConfig.image.model"),
            ("Character Aspect Ratio", "1:1", "project.modelConfig.image.characterAspectRatio"),
            ("Scene Aspect Ratio", "16:9", "project.modelConfig.image.sceneAspectRatio"),
            ("Scene Resolution", "2k", "project.modelConfig.image.sceneResolution"),
        ]

    def test_where_nothing_is_set_the_default_is_the_source(self, project: Project) -> None:
        call_command("load_kie_models", stdout=StringIO())
        settings = {s.label: (s.value, s.source) for s in flow(project).settings}
        assert settings["Provider"] == ("kie", "default")
        assert settings["Model"] == ("seedream/4.5-text-to-image", "default")
        assert settings["Scene Resolution"] == ("2K", "default")

    def test_model_details(self, film: Project) -> None:
        details = {detail.label: detail.value for detail in flow(film).details}
        assert details["Name"] == "Seedream 3.0 (2K)"
        assert details["Provider"] == "ByteDance"
        assert details["Credits"] == "6 credits per image"
        assert details["Cost"] == "$0.03 per image"
        assert details["Modality"] == "text-to-image"
        assert details["Supported Resolutions"] == "2K"

    def test_model_config(self, film: Project) -> None:
        assert body(code(flow(film), 3, "Model config from the database")) == {
            "modelId": "seedream-3.0/2k",
            "name": "Seedream 3.0 (2K)",
            "provider": "ByteDance",
            "credits": 6,
            "cost": 0.03,
            "modality": ["text-to-image"],
        }

    def test_the_log(self, film: Project) -> None:
        assert flow(film).log == (
            "[Image] Using provider: kie, model: seedream-3.0/2k, reference images: 0, "
            "skipCreditCheck: false, ownerId: none\n"
            "[KIE] Using model: Seedream 3.0 (2K) - 6 credits ($0.03)\n"
            "[KIE] Task created: task_abc123..., polling for completion...\n"
            "[KIE] Task task_abc123... state: waiting\n"
            "[KIE] Task task_abc123... state: generating\n"
            "[KIE] Task task_abc123... state: success"
        )

    def test_charged(self, film: Project) -> None:
        assert "User charged: 6 credits ($0.03)" in step(flow(film), 6).words


class TestItIsWhatHappens:
    """An order is placed as the flow tells, lived through, and compared with what was told."""

    def live(self, found: Flow, kie: Sandbox) -> Generation:
        client = Client(headers={"Authorization": f"Bearer {issue_token(found.user, 'test')}"})
        asked = body(code(found, 1, "The same order from a program"))
        answer = client.post("/api/image", json.dumps(asked), content_type="application/json")
        assert answer.status_code == 202, answer.content
        generation = Generation.objects.get()
        take_steps(generation, ENDS)
        assert generation.state == State.DONE
        self.answer = client.get(answer.headers["Location"]).json()
        return generation

    def test_from_the_click_to_the_take(
        self,
        film: Project,
        kie: Sandbox,
        caplog: pytest.LogCaptureFixture,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        caplog.set_level(logging.INFO)
        go_on_when_asked(monkeypatch)
        found = flow(film)
        generation = self.live(found, kie)

        def named(text: str) -> Any:
            """What was told, with the ids that are known now."""
            take = generation.outputs.get().take
            assert take is not None
            words = (("ORDER_ID", generation.pk), ("TAKE_ID", take.pk))
            for word, value in (*words, ("task_abc123...", str(generation.task_id))):
                text = text.replace(word, value)
            return text

        # 4: the request, to the byte of its meaning
        (received,) = kie.account.received
        assert received["body"] == body(code(found, 4, "Request"))
        assert f"POST {kie.url}/api/v1/jobs/createTask\n" in code(found, 4, "Request")
        # 2 and 6: what is held and what is charged
        held = body(named(code(found, 2, "Written and held")))
        hold = LedgerEntry.objects.get(kind="hold")
        assert (held["hold"], held["credits"] * 100) == (hold.reference, hold.held_change)
        told = body(code(found, 6, "The entry in the ledger"))
        entry = LedgerEntry.objects.get(kind="capture")
        assert told == {
            "kind": entry.kind,
            "user": str(entry.ledger.owner),
            "credits": -entry.balance_change / 100,
            "type": entry.type,
            "description": entry.description,
            "project": entry.project,
            "provider": entry.provider,
            "metadata": entry.metadata,
            "realCost": entry.real_cost / 1_000_000,
        }
        # 7: where the picture is, and what a program is told
        saved = body(named(code(found, 7, "Saved to the project")))
        take = found.scene.takes.get()  # type: ignore[union-attr]
        assert Path(saved["image"]).stem == Path(str(take.image)).stem
        assert saved["thumbnail"] == take.thumbnail.name
        told = body(named(code(found, 7, "What /api/image answers when it is there")))
        assert told | {"imageUrl": f"http://testserver{told['imageUrl']}"} == self.answer
        # the log
        lines = [line for line in caplog.messages if line.startswith(("[Image]", "[KIE]"))]
        assert lines == named(found.log).splitlines()

    def test_the_form_is_what_the_button_posts(
        self, film: Project, client: Client, alice: User
    ) -> None:
        found = flow(film)
        head, _, fields = code(found, 1, "What the click sends").partition("\n\n")
        client.force_login(alice)
        page = client.get(reverse("generation:board", args=[film.pk])).content.decode()
        address = head.split()[1]
        (form,) = re.findall(rf'<form[^>]*action="{address}".*?</form>', page, re.DOTALL)
        inputs = dict(re.findall(r'name="(\w+)" value="([^"]*)"', form))
        sent = dict(field.split("=") for field in fields.split("&"))
        assert sent.keys() <= inputs.keys()
        assert sent["price"] == inputs["price"] == "600"
        client.post(address, sent | {"key": inputs["key"]})
        generation = Generation.objects.get()
        assert generation.request == body(code(found, 4, "Request"))
        assert generation.scene == found.scene

    def test_the_callback_address_where_there_is_one(self, film: Project, settings: Any) -> None:
        assert "callBackUrl" not in code(flow(film), 4, "Request")
        settings.PUBLIC_URL = "https://studio.example"
        found = flow(film)
        sent = body(code(found, 4, "Request"))
        assert sent["callBackUrl"] == "https://studio.example/kie/callback/ORDER_ID/TAG"
        assert "POST https://studio.example/api/image" in code(
            found, 1, step(found, 1).codes[2].caption
        )
        assert "KIE also reports by itself" in " ".join(step(found, 5).words)

    def test_another_model_is_told_in_its_own_fields(self, film: Project) -> None:
        film = change(film, model="seedream/4-5-text-to-image", scene_resolution="4K")
        sent = body(code(flow(film), 4, "Request"))
        assert sent["model"] == "seedream/4.5-text-to-image"
        assert (sent["input"]["aspect_ratio"], sent["input"]["quality"]) == ("16:9", "high")
        assert flow(film).model_id == "seedream/4-5-text-to-image"

    def test_it_writes_nothing(self, film: Project) -> None:
        flow(film)
        assert not Generation.objects.exists()
        assert not LedgerEntry.objects.exclude(kind="grant").exists()

    def test_a_sample_where_no_scene_has_a_description(self, film: Project) -> None:
        Scene.objects.update(description="")
        found = flow(film)
        assert body(code(found, 4, "Request"))["input"]["prompt"] == "A beautiful landscape..."
        assert "/scenes/SCENE_ID/generate/" in code(found, 1, "What the click sends")
        assert check(found, "Description").ok is None


class TestChecks:
    def test_all_is_well_but_for_an_id_that_kie_may_not_know(self, film: Project) -> None:
        unsure = [check.label for check in flow(film).checks if not check.ok]
        assert unsure == ["Model"]
        assert check(flow(film), "Model").ok is None

    def test_a_documented_id_is_known(self, film: Project) -> None:
        KieModel.objects.filter(model_id="seedream-3.0/2k").update(
            api_model_id="bytedance/seedream"
        )
        found = flow(film)
        assert check(found, "Model").ok is True
        assert found.sent_id == "bytedance/seedream"

    @pytest.mark.parametrize(
        ("fields", "label", "unknown"),
        [
            (
                {"provider": "gemini"},
                "Provider",
                {"Cost", "Resolution", "Aspect Ratio", "Database"},
            ),
            ({"model": "nothing/at-all"}, "Database", {"Cost", "Resolution", "Aspect Ratio"}),
            ({"scene_aspect_ratio": "21:9"}, "Aspect Ratio", {"Cost", "Resolution"}),
            ({"scene_resolution": "8K"}, "Resolution", {"Cost"}),
        ],
    )
    def test_what_is_refused_first_is_wrong_and_the_rest_unknown(
        self, film: Project, fields: dict[str, str], label: str, unknown: set[str]
    ) -> None:
        found = flow(change(film, **fields))
        assert found.order is None and found.refused is not None
        assert (check(found, label).ok, check(found, label).words) == (False, found.refused.words)
        assert {c.label for c in found.checks if c.ok is None} >= unknown
        assert found.steps == ()

    def test_a_ratio_that_only_characters_have_wrong(self, film: Project) -> None:
        found = flow(change(film, character_aspect_ratio="21:9"))
        assert found.order is not None
        assert check(found, "Aspect Ratio").ok is False

    def test_a_model_without_a_price(self, film: Project) -> None:
        KieModel.objects.get(model_id="seedream-3.0/2k").prices.all().delete()
        assert check(flow(film), "Cost").ok is False

    def test_a_description_that_is_too_long(self, film: Project) -> None:
        Scene.objects.filter(number="2").update(description="x" * 20_001)
        found = flow(film)
        assert check(found, "Description").ok is False
        assert check(found, "Cost").ok is True

    def test_not_enough_credits(self, film: Project, alice: User, bob: User) -> None:
        book = ledger.ledger_of(alice)
        about = ledger.About(description="taken away")
        ledger.adjust(book, -24_401, reference="a", about=about)
        assert check(flow(film), "Credits").words == "alice pays and has only 5.99 credits."
        assert check(flow(film), "Credits").ok is False
        ledger.adjust(book, 1, reference="b", about=about)
        assert check(flow(film), "Credits").ok is True
        assert check(flow(film, bob), "Credits").words == "alice pays and has enough."

    def test_ordering_is_paused(self, film: Project) -> None:
        lifecycle.pause("kie", "no credits")
        assert check(flow(film), "Provider").ok is False

    def test_an_allowance_that_does_not_cover_it(self, film: Project, bob: User) -> None:
        assert "Allowance" not in [c.label for c in flow(film, bob).checks]
        Member.objects.filter(user=bob).update(allowance=500)
        found = check(flow(film, bob), "Allowance")
        assert (found.ok, found.words) == (False, "Your allowance has 5 credits left.")
        assert found.remedy == "The click asks alice for it."
        Member.objects.filter(user=bob).update(allowance=600)
        assert check(flow(film, bob), "Allowance").ok is True

    def test_a_viewer_may_not_order(self, film: Project, charlie: User) -> None:
        Member.objects.create(project=film, user=charlie, role=Role.VIEWER)
        assert check(flow(film, charlie), "Permission").ok is False


class TestOutside:
    def outside(self, film: Project) -> dict[str, summary.Check]:
        return {c.label: c for c in summary.outside_checks(flow(film).order)}

    def test_kie_answers(self, film: Project, kie: Sandbox) -> None:
        assert self.outside(film)["Connection"].ok is True

    def test_kie_is_asked_once_for_everybody(self, film: Project, kie: Sandbox) -> None:
        assert checkup.provider().ok is True
        kie.stop()
        assert checkup.provider().ok is True  # still the answer of a moment ago
        cache.clear()
        assert checkup.provider().code == "silent"

    def test_kie_does_not_answer(self, film: Project, settings: Any) -> None:
        with socket.create_server(("127.0.0.1", 0)) as taken:
            settings.KIE_API_URL = f"http://127.0.0.1:{taken.getsockname()[1]}"
        found = self.outside(film)["Connection"]
        assert (found.ok, "does not answer" in found.words) == (False, True)

    @pytest.mark.parametrize(
        ("options", "words"),
        [
            ({"key": "another"}, "refuses the key"),
            ({"credits": 5.99}, "has not enough for this picture"),
        ],
    )
    def test_kie_would_not_make_it(
        self, film: Project, settings: Any, options: dict[str, Any], words: str
    ) -> None:
        with Sandbox(Options(**options)) as sandbox:
            settings.KIE_API_URL = sandbox.url
            found = self.outside(film)["Connection"]
        assert found.ok is False and words in found.words

    def test_the_storage_takes_pictures(
        self, film: Project, kie: Sandbox, settings: Any, tmp_path: Path
    ) -> None:
        assert self.outside(film)["Storage"].ok is True
        assert [path for path in Path(settings.MEDIA_ROOT).rglob("*") if path.is_file()] == []
        cache.clear()
        settings.MEDIA_ROOT = tmp_path / "file"
        settings.MEDIA_ROOT.write_text("in the way")
        assert self.outside(film)["Storage"].ok is False

    def test_who_works(self, film: Project, kie: Sandbox) -> None:
        missing = self.outside(film)["Workers"]
        assert (missing.ok, missing.words) == (False, "Not running: tick, orders, pictures.")
        queue = django_rq.get_connection("orders")
        workers = [Worker([django_rq.get_queue(name)], connection=queue) for name in QUEUES]
        for worker in workers:
            worker.register_birth()
        doorbell.ticked()
        assert self.outside(film)["Workers"].ok is True
        workers[0].register_death()
        assert self.outside(film)["Workers"].words == "Not running: orders."
        # One that was killed does not say goodbye; after a minute of silence it does not count.
        queue.hset(workers[1].key, "last_heartbeat", "2026-01-01T00:00:00.000000Z")
        assert self.outside(film)["Workers"].words == "Not running: orders, pictures."

    def test_while_somebody_asks_others_do_not_wait(self, film: Project, kie: Sandbox) -> None:
        cache.add("checkup:kie:asking", 1, 20)
        before = time.monotonic()
        assert self.outside(film)["Connection"].ok is None
        assert time.monotonic() - before < 3


QUEUES = ("orders", "pictures")


class TestPage:
    def url(self, film: Project) -> str:
        return reverse("generation:flow", args=[film.pk])

    def test_who_may_see_it(
        self, film: Project, client: Client, alice: User, bob: User, charlie: User
    ) -> None:
        assert client.get(self.url(film)).status_code == 302
        for user, status in ((alice, 200), (bob, 200), (charlie, 404)):
            client.force_login(user)
            assert client.get(self.url(film)).status_code == status

    def test_it_tells_the_flow(self, film: Project, client: Client, alice: User) -> None:
        client.force_login(alice)
        page = client.get(self.url(film)).content.decode()
        for text in ("Image Generation Flow", film.name, film.pk, "Duny „pri západe“"):
            assert text in page
        assert "the exact model <code>seedream-3.0/2k</code> will be sent to KIE.ai" in page
        assert 'hx-trigger="load"' in page and "Workers" not in page

    def test_the_slow_checks_come_by_themselves(
        self, film: Project, client: Client, alice: User, kie: Sandbox
    ) -> None:
        client.force_login(alice)
        part = client.get(f"{self.url(film)}?check=1", headers={"HX-Request": "true"})
        text = part.content.decode()
        assert "The KIE sandbox answers" in text and "Workers" in text
        assert "<html" not in text and 'hx-trigger="load"' not in text
        whole = client.get(f"{self.url(film)}?check=1").content.decode()
        assert "<html" in whole and "The KIE sandbox answers" in whole

    def test_no_secret_is_shown(
        self, film: Project, client: Client, alice: User, settings: Any
    ) -> None:
        settings.KIE_API_KEY = "the-real-kie-key"
        settings.KIE_WEBHOOK_KEY = "the-webhook-key"
        settings.PUBLIC_URL = "https://studio.example"
        client.force_login(alice)
        page = client.get(self.url(film)).content.decode()
        assert "YOUR_KIE_API_KEY" in page
        for secret in ("the-real-kie-key", "the-webhook-key", settings.SECRET_KEY):
            assert secret not in page
        assert re.findall(r"callback/(\w+)/(\w+)", page) == [("ORDER_ID", "TAG")]

    def test_why_nothing_would_be_ordered(self, film: Project, client: Client, alice: User) -> None:
        client.force_login(alice)
        change(film, model="nothing/at-all")
        page = client.get(self.url(film)).content.decode()
        assert "Nothing would be ordered." in page
        assert "There is no model “nothing/at-all”." in page
        assert "The database has no such model." in page

    def test_no_more_queries_for_more_scenes(
        self, film: Project, client: Client, alice: User, django_assert_num_queries: Any
    ) -> None:
        client.force_login(alice)
        with CaptureQueriesContext(connection) as few:
            client.get(self.url(film))
        for number in range(3, 40):
            Scene.objects.create(
                project=film, number=str(number), position=number, description="Duny"
            )
        with django_assert_num_queries(len(few)):
            client.get(self.url(film))


class TestCommand:
    def print_flow(self, *arguments: str) -> str:
        out = StringIO()
        call_command("image_flow", *arguments, stdout=out)
        return out.getvalue()

    def test_it_has_the_documents_titles(self, film: Project) -> None:
        words = self.print_flow(film.pk, "--no-checks")
        assert words.startswith(f"# Image Generation Flow - Project: {film.name}\n")
        assert tuple(re.findall(r"^##+ (.*)$", words, re.MULTILINE)) == DOCUMENT
        assert "| **Model** | `seedream-3.0/2k` | project.modelConfig.image.model |" in words
        assert "✅ **Cost:** 6 credits ($0.03) per image\n" in words
        assert "✅ **Database:** Model exists and is active\n" in words
        assert words.endswith(
            '**When you click "Generate image", the exact model `seedream-3.0/2k` will be sent to '
            "KIE.ai!** 🎯\n"
        )
        assert "&quot;" not in words and "„pri západe“" in words

    def test_by_name_and_for_somebody(self, film: Project, bob: User) -> None:
        words = self.print_flow(film.name, "--user", "bob", "--no-checks")
        assert "alice pays and has enough." in words

    def test_a_wrong_thing_is_an_error(self, film: Project, kie: Sandbox) -> None:
        out = StringIO()
        with pytest.raises(CommandError, match="Not right: Workers"):
            call_command("image_flow", film.pk, stdout=out)
        assert "✅ **Connection:**" in out.getvalue()
        assert "❌ **Workers:**" in out.getvalue()

    def test_where_nothing_would_be_ordered(self, film: Project) -> None:
        change(film, model="nothing/at-all")
        with pytest.raises(CommandError, match="Not right: Model, Database"):
            self.print_flow(film.pk, "--no-checks")

    @pytest.mark.parametrize("arguments", [("nic",), ("x", "--user", "nikto")])
    def test_unknown_names(self, film: Project, arguments: tuple[str, ...]) -> None:
        with pytest.raises(CommandError, match="There is no"):
            self.print_flow(*arguments)


@pytest.mark.browser
def test_on_the_running_site_everything_is_right(demo: Page, site: servers.Site) -> None:
    page = demo
    page.goto("/projects/cmkivtwqv0005l80499cyfuzx/flow/")
    expect(page.get_by_role("heading", name="Image Generation Flow")).to_be_visible()
    expect(page.locator("#checks li.good")).to_have_count(10)
    expect(page.locator("#checks li.bad")).to_have_count(0)
    assert "✅ **Workers:**" in site.manage("image_flow", "cmkivtwqv0005l80499cyfuzx")
    for width in (1440, 390):
        page.set_viewport_size({"width": width, "height": 900})
        assert page.evaluate("document.documentElement.scrollWidth") == width
