"""manage.py backfill_images: what is ordered, what it costs, and that nothing is ordered twice."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from io import StringIO
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.core.files.storage import default_storage
from django.core.management import CommandError, call_command
from django.db import connection

from credits import invariants, ledger
from credits.models import LedgerEntry
from generation import audit, jobs, lifecycle
from generation.kie.sandbox import Options, Sandbox
from generation.models import Generation, ImageSettings, KieModel, Reason, State
from imagegen.settings import BASE_DIR
from projects.models import Character, Project, Scene, Take
from tests import servers
from tests.test_lifecycle import STORED, claim, running, sent, storing

pytestmark = pytest.mark.django_db


@pytest.fixture
def film(project: Project, catalogue: None) -> Project:
    """Two characters, three scenes with a description and one without; 250 credits."""
    ImageSettings.objects.create(project=project, model="seedream-3.0/2k", scene_resolution="2k")
    grant(project.owner, 25_000)
    for name in ("Miro", "Zuzana"):
        Character.objects.create(project=project, name=name, description=f"{name}, 40 rokov")
    for number in range(1, 4):
        shoot(project, str(number))
    shoot(project, "4", description="")
    return project


def shoot(project: Project, number: str, description: str = "Duny pri západe") -> Scene:
    return Scene.objects.create(
        project=project, number=number, position=int(number), description=description
    )


def grant(user: User, hundredths: int) -> None:
    book = ledger.ledger_of(user)
    ledger.grant(book, hundredths, reference=f"g:{user.pk}", about=ledger.About())


def backfill(*arguments: str) -> str:
    out = StringIO()
    call_command("backfill_images", *arguments, stdout=out, stderr=out)
    return out.getvalue()


def ordered() -> list[str]:
    """What there are orders for, in the order of their placing."""
    rows = Generation.objects.order_by("created_at", "pk").select_related("scene", "character")
    return [str(row.scene.number if row.scene else row.character) for row in rows]


def all_is_right() -> bool:
    return invariants.violations() == [] and audit.violations() == []


class TestTheBill:
    def test_it_says_what_and_how_much(self, film: Project) -> None:
        words = backfill("--dry-run")
        assert f"order  {film} ({film.pk}): 5 pictures, 30 credits" in words
        assert "pay    alice: has 250 credits, enough" in words
        assert f"skip   {film}, 4: There is no description" in words
        assert "Bill: 5 pictures, 30 credits. Skipped: 1. Dry run: nothing was ordered." in words
        assert ordered() == []
        assert not LedgerEntry.objects.exclude(kind="grant").exists()

    def test_it_is_what_is_ordered(self, film: Project) -> None:
        words = backfill()
        assert "Ordered: 5 pictures, 30 credits held." in words
        assert ordered() == ["Miro", "Zuzana", "1", "2", "3"]
        assert ledger.ledger_of(film.owner).held == 3000
        assert set(Generation.objects.values_list("ordered_by", "payer")) == {
            (film.owner.pk, film.owner.pk)
        }
        assert all_is_right()

    def test_of_nothing(self, film: Project) -> None:
        backfill()
        assert "Bill: 0 pictures, 0 credits." in backfill()


class TestWhatIsMissing:
    def test_not_what_has_a_picture(self, film: Project) -> None:
        Take.objects.create(
            project=film,
            scene=Scene.objects.get(number="1"),
            made_by=film.owner,
            source_url="https://example.com/a.png",
        )
        backfill("--scenes")
        assert ordered() == ["2", "3"]

    def test_only_scenes_or_only_characters(self, film: Project) -> None:
        backfill("--characters")
        assert ordered() == ["Miro", "Zuzana"]
        backfill("--scenes")
        assert ordered()[2:] == ["1", "2", "3"]

    def test_a_failed_one_is_ordered_again_once(self, film: Project) -> None:
        backfill("--scenes", "--limit", "1")
        first = Generation.objects.get()
        lifecycle.fail(running(first), Reason.RENDER, "Internal server error")
        backfill("--scenes", "--limit", "1")
        backfill("--scenes", "--limit", "0")
        second = Generation.objects.exclude(pk=first.pk).get()
        assert second.scene == first.scene
        assert [g.order_key.rpartition(":")[2] for g in (first, second)] == ["0", "1"]

    def test_a_refused_one_waits_for_another_description(self, film: Project) -> None:
        backfill("--scenes", "--limit", "1")
        lifecycle.fail(running(Generation.objects.get()), Reason.UNSAFE, "Inappropriate content")
        assert "1: The model refused this description as unsafe." in backfill("--scenes")
        assert ordered() == ["1", "2", "3"]
        Scene.objects.filter(number="1").update(description="Duny na úsvite")
        backfill("--scenes")
        assert ordered() == ["1", "2", "3", "1"]

    def test_one_that_staff_look_at_is_left_to_them(self, film: Project) -> None:
        backfill("--scenes", "--limit", "1")
        lifecycle.unclear(sent(Generation.objects.get()), "no answer")
        lost = claim(Generation.objects.get(), State.UNKNOWN)
        lifecycle.give_up(lost, Reason.LOST, "nobody knows")
        assert "1: Staff are looking at its last order." in backfill("--scenes")
        assert ordered() == ["1", "2", "3"]

    def test_done_ones_are_not_missing(self, film: Project) -> None:
        backfill("--scenes", "--limit", "1")
        lifecycle.done(storing(Generation.objects.get()), {0: STORED})
        assert "Bill: 2 pictures" in backfill("--scenes", "--dry-run")


class TestLimits:
    def test_so_many_pictures(self, film: Project) -> None:
        words = backfill("--limit", "2")
        assert ordered() == ["Miro", "Zuzana"]
        assert "leave  3 pictures, 18 credits, over --limit or --max-credits" in words

    def test_so_many_credits(self, film: Project) -> None:
        backfill("--max-credits", "17.99")
        assert len(ordered()) == 2
        backfill("--max-credits", "18")
        assert len(ordered()) == 5

    def test_one_picture_dearer_than_all_that_may_be_spent(self, film: Project) -> None:
        assert "Bill: 0 pictures" in backfill("--max-credits", "5.99")
        assert ordered() == []

    @pytest.mark.parametrize(
        "wrong", [("--limit", "-1"), ("--limit", "x"), ("--max-credits", "lots")]
    )
    def test_a_wrong_limit_orders_nothing(self, film: Project, wrong: tuple[str, str]) -> None:
        with pytest.raises(CommandError):
            backfill(*wrong)
        assert ordered() == []

    def test_out_of_credits_stops_for_that_payer_only(self, film: Project, charlie: User) -> None:
        second = Project.objects.create(owner=charlie, name="druhý film")
        shoot(second, "1")
        shoot(second, "2")
        grant(charlie, 700)  # one picture of the default model is 6.5
        with pytest.raises(CommandError, match="charlie: Not enough credits"):
            backfill()
        paid = Generation.objects.values_list("payer__username", flat=True)
        assert sorted(paid) == ["alice"] * 5 + ["charlie"]
        assert all_is_right()
        grant_more = ledger.About()
        ledger.grant(ledger.ledger_of(charlie), 1000, reference="more", about=grant_more)
        backfill()
        assert Generation.objects.filter(payer=charlie).count() == 2


class TestNames:
    def test_a_project_by_id_and_by_name(self, film: Project, alice: User) -> None:
        other = Project.objects.create(owner=alice, name="druhý film")
        shoot(other, "1")
        backfill("--project", "druhý film")
        assert set(Generation.objects.values_list("project", flat=True)) == {other.pk}
        backfill("--project", film.pk, "--project", other.pk)
        assert Generation.objects.filter(project=film).count() == 5

    def test_no_such_project(self, film: Project) -> None:
        with pytest.raises(CommandError, match="no project 'nic'"):
            backfill("--project", "nic")

    def test_two_projects_of_one_name(self, film: Project, charlie: User) -> None:
        other = Project.objects.create(owner=charlie, name=film.name)
        with pytest.raises(CommandError, match=other.pk):
            backfill("--project", film.name)
        assert ordered() == []

    def test_somebody_else_orders_the_owner_pays(self, film: Project, bob: User) -> None:
        backfill("--user", "bob")
        who = set(Generation.objects.values_list("ordered_by__username", "payer__username"))
        assert who == {("bob", "alice")}
        with pytest.raises(CommandError, match="no user 'nikto'"):
            backfill("--user", "nikto")

    def test_a_model_that_is_switched_off_is_a_reason(self, film: Project) -> None:
        KieModel.objects.filter(model_id="seedream-3.0/2k").update(is_active=False)
        assert backfill().count("Seedream 3.0 (2K) is switched off.") == 6


@pytest.mark.django_db(transaction=True)
def test_two_at_once_order_everything_once(film: Project) -> None:
    failures: list[BaseException] = []

    def run() -> None:
        try:
            backfill()
        except BaseException as error:
            failures.append(error)
        finally:
            connection.close()

    threads = [threading.Thread(target=run) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert sorted(ordered()) == ["1", "2", "3", "Miro", "Zuzana"]
    assert all_is_right()


SCENES_TO_STOP_IN = 120


def start(*arguments: str) -> subprocess.Popen[str]:
    """manage.py in a process of its own, on the database of this test."""
    return subprocess.Popen(
        [sys.executable, "manage.py", *arguments],
        cwd=BASE_DIR,
        env=os.environ | {"DATABASE_URL": servers.address_of(connection)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def finish(command: subprocess.Popen[str]) -> str:
    """Waits for its end, which must be a good one; what it printed."""
    words, errors = command.communicate(timeout=120)
    assert command.returncode == 0, errors
    return words


@pytest.mark.django_db(transaction=True)
def test_stopped_by_ctrl_c_and_run_again(film: Project) -> None:
    for number in range(100, 100 + SCENES_TO_STOP_IN):
        shoot(film, str(number))
    book = ledger.ledger_of(film.owner)
    ledger.grant(book, 10**6, reference="more", about=ledger.About())

    first = start("backfill_images")
    logged = (line for line in first.stderr if "[Image] Using provider" in line)  # type: ignore[union-attr]
    for _order in range(3):  # a line is written before its order
        next(logged)
    first.send_signal(signal.SIGINT)
    words, errors = first.communicate(timeout=30)
    assert first.returncode == 130
    assert "Stopped. Run it again to go on." in errors
    placed = int(re.search(r"Ordered: (\d+) picture", words)[1])  # type: ignore[index]
    assert 0 < placed < SCENES_TO_STOP_IN
    assert Generation.objects.count() == placed

    everything = SCENES_TO_STOP_IN + 5
    assert f"Ordered: {everything - placed} pictures" in finish(start("backfill_images"))
    assert len(set(ordered())) == len(ordered()) == everything
    assert f"{everything} orders" in finish(start("check_ledger"))


@pytest.mark.browser
@pytest.mark.everywhere
def test_it_waits_for_the_pictures(site: servers.Site) -> None:
    words = site.manage("backfill_images", "--characters", "--wait")
    assert re.search(r"Ended: \d done\.", words)
    assert "Bill: 0 pictures" in site.manage("backfill_images", "--characters")


class TestRehost:
    @pytest.fixture
    def kie(self, settings: Any) -> Iterator[Sandbox]:
        with Sandbox(Options(seconds=0.05, rate=0, largest_edge=256)) as sandbox:
            settings.KIE_API_URL = settings.KIE_UPLOAD_URL = sandbox.url
            yield sandbox

    def made(self, kie: Sandbox, *faults: str) -> str:
        """The link to a picture that KIE has made."""
        kie.account.faults.change({"next": [list(faults)]})
        client = jobs.kie()
        request = {"model": "google/nano-banana", "input": {"prompt": "Duny", "image_size": "1:1"}}
        task_id = client.create_task(request)
        for _ in range(100):
            if urls := client.record_info(task_id).urls:
                return urls[0]
            time.sleep(0.05)
        raise AssertionError("the sandbox made no picture")

    def linked(self, film: Project, url: str, **of: Any) -> Take:
        return Take.objects.create(project=film, made_by=film.owner, source_url=url, **of)

    def test_copied_in_place_and_for_nothing(self, film: Project, kie: Sandbox) -> None:
        scene = Scene.objects.get(number="1")
        take = self.linked(film, self.made(kie), scene=scene)
        assert "1 picture to copy" in backfill("--rehost", "--dry-run")
        assert "Copied into the storage: 1 copied." in backfill("--rehost")
        take.refresh_from_db()
        assert default_storage.size(str(take.image)) == take.size > 0
        assert take.scene == scene and take.is_stored and take.width == take.height
        assert default_storage.exists(str(take.thumbnail))
        assert not Generation.objects.exists()
        assert not LedgerEntry.objects.exclude(kind="grant").exists()
        assert "nothing to copy" in backfill("--rehost")

    def test_an_expired_link_of_kie_is_freshened(self, film: Project, kie: Sandbox) -> None:
        take = self.linked(film, self.made(kie, "result_expired"))
        backfill("--rehost")
        take.refresh_from_db()
        assert take.is_stored

    def test_what_cannot_be_copied_is_said_and_the_rest_goes_on(
        self, film: Project, kie: Sandbox
    ) -> None:
        gone = self.linked(film, self.made(kie, "result_404"))
        junk = self.linked(film, self.made(kie, "result_junk"))
        later = self.linked(film, self.made(kie, "result_503_once"))
        good = self.linked(film, self.made(kie))
        with pytest.raises(CommandError, match="3 pictures not copied"):
            backfill("--rehost")
        assert self.stored() == {good.pk}
        with pytest.raises(CommandError, match="2 pictures not copied"):
            backfill("--rehost")
        assert self.stored() == {good.pk, later.pk}
        assert Take.objects.filter(pk__in=[gone.pk, junk.pk], image="").count() == 2

    def test_a_decoder_that_dies_does_not_keep_the_others(
        self, film: Project, kie: Sandbox, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        self.linked(film, self.made(kie))
        monkeypatch.setattr("projects.decoders.decode", lambda *_: -9)
        with pytest.raises(CommandError, match="1 picture not copied"):
            backfill("--rehost")

    def test_a_private_address_is_not_followed(self, film: Project, kie: Sandbox) -> None:
        self.linked(film, "https://127.0.0.1/secret.png")
        with pytest.raises(CommandError, match="1 picture not copied"):
            backfill("--rehost")
        assert self.stored() == set()

    def test_of_some(self, film: Project, kie: Sandbox, alice: User) -> None:
        of_scene = self.linked(film, self.made(kie), scene=Scene.objects.get(number="1"))
        of_miro = self.linked(film, self.made(kie), character=Character.objects.get(name="Miro"))
        other = Project.objects.create(owner=alice, name="druhý film")
        elsewhere = self.linked(other, self.made(kie))
        backfill("--rehost", "--project", film.pk, "--scenes")
        assert self.stored() == {of_scene.pk}
        backfill("--rehost", "--project", film.pk)
        assert self.stored() == {of_scene.pk, of_miro.pk}
        backfill("--rehost", "--limit", "0")
        backfill("--rehost", "--limit", "1")
        assert self.stored() == {of_scene.pk, of_miro.pk, elsewhere.pk}

    def stored(self) -> set[str]:
        return set(Take.objects.exclude(image="").values_list("pk", flat=True))
