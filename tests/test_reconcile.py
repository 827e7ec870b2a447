"""manage.py reconcile_kie against the sandbox: what KIE took, what was booked, what explains it."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from io import StringIO
from typing import Any

import pytest
import requests
from django.core.management import CommandError, call_command
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone
from redis import Redis

from credits import ledger
from generation import jobs, lifecycle, reconcile
from generation.kie.client import Kie
from generation.kie.sandbox import Options, Sandbox
from generation.models import BalanceSample, Difference, Generation, Price, Reason, State, TakenBack
from projects.models import Project, Scene
from tests import servers, stages
from tests.test_jobs import ENDS, next_faults, take_steps

pytestmark = pytest.mark.django_db

FOREIGN = {"model": "seedream-3.0/2k", "input": {"prompt": "?", "aspect_ratio": "1:1"}}  # costs 6


@pytest.fixture
def kie(settings: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[Sandbox]:
    """An account with 1,000 credits. No moment is waited for."""
    monkeypatch.setattr(reconcile, "PAUSES", (0,))
    monkeypatch.setattr(reconcile, "GIVEN_BACK", timedelta(0))
    with Sandbox(Options(port=0, seconds=0.1, rate=0, credits=1000, largest_edge=64)) as sandbox:
        settings.KIE_API_URL = settings.KIE_UPLOAD_URL = sandbox.url
        yield sandbox


@pytest.fixture
def scene(project: Project, catalogue: None) -> Scene:
    """An order for it costs 6.5 credits."""
    stages.give_credits(project.owner, 100_000)
    return stages.add_scene(project)


def set_up(kie: Sandbox, **values: Any) -> None:
    requests.post(f"{kie.url}/sandbox/settings", json=values, timeout=5).raise_for_status()


def left(kie: Sandbox) -> float:
    credits: float = requests.get(f"{kie.url}/sandbox", timeout=5).json()["credits"]
    return credits


def sent(kie: Sandbox, scene: Scene, *faults: str) -> Generation:
    """An order that has gone out, and meets these faults."""
    if faults:
        next_faults(kie, *faults)
    order = stages.ordered(scene)
    jobs.submit()
    order.refresh_from_db()
    return order


def followed(order: Generation) -> Generation:
    take_steps(order, (*ENDS, State.CANCELLED))
    return order


def never_told(order: Generation) -> None:
    """Half an hour has gone by without a sign of its task."""
    Generation.objects.filter(pk=order.pk).update(next_at=timezone.now())
    lifecycle.sweep()
    order.refresh_from_db()
    assert (order.state, order.reason) == (State.REVIEW, Reason.LOST)


def later(kie: Sandbox) -> None:
    """What has been under way at KIE for a while has ended."""
    kie.account.tasks._db.execute(
        "UPDATE tasks SET created = created - 600, returned = returned - 600"
    )


def of_an_earlier_minute(order: Generation) -> None:
    """KIE has it by now, or never will."""
    earlier = timezone.now() - reconcile.ARRIVES
    BalanceSample.objects.update(at=earlier - timedelta(seconds=1))
    Generation.objects.filter(pk=order.pk).update(submitted_at=earlier)


def command(*arguments: str) -> str:
    out = StringIO()
    call_command("reconcile_kie", *arguments, stdout=out)
    return out.getvalue()


def refused(*arguments: str) -> str:
    """What it says where it exits with 1."""
    out = StringIO()
    with pytest.raises(CommandError) as error:
        call_command("reconcile_kie", *arguments, stdout=out)
    assert error.value.returncode == 1
    return f"{out.getvalue()}{error.value}"


def figures() -> list[tuple[int, int]]:
    """Booked and used of the open differences, the oldest first."""
    return list(Difference.objects.open().order_by("pk").values_list("booked", "used"))


def of_the_account() -> list[tuple[int, int]]:
    rows = Difference.objects.open().filter(until__isnull=False)
    return list(rows.order_by("pk").values_list("booked", "used"))


# All is well


def test_what_agrees_is_no_row(kie: Sandbox, scene: Scene) -> None:
    assert "Compared 0 orders; left at KIE: 1,000 credits." in command()
    followed(sent(kie, scene))
    followed(sent(kie, scene, "moderation"))
    followed(sent(kie, scene, "result_503_once"))
    lifecycle.cancel(stages.ordered(scene))
    thrown_away = sent(kie, scene)
    lifecycle.take_back(thrown_away, TakenBack.DISCARD)
    assert followed(thrown_away).state == State.CANCELLED
    assert "Compared 4 orders; left at KIE: 980.5 credits." in command()
    assert not Difference.objects.exists()


def test_twice_is_as_good_as_once(kie: Sandbox, scene: Scene) -> None:
    followed(sent(kie, scene))
    command()
    Kie(kie.url, kie.url, "other").create_task(FOREIGN)
    first = refused()
    rows = list(Difference.objects.values())
    assert refused() == first
    assert list(Difference.objects.values()) == rows
    samples = BalanceSample.objects.values_list("credits", flat=True)
    assert sorted(samples, reverse=True) == [99_350, 98_750, 98_750]


# Each order


def test_a_price_that_kie_has_raised(kie: Sandbox, scene: Scene) -> None:
    order = stages.ordered(scene)
    Price.objects.create(model=order.model, credits=500, cost=25_000)
    cheap = stages.ordered(scene)
    for _order in (order, cheap):
        jobs.submit()
    followed(order)
    followed(cheap)
    told = refused()
    assert (
        f"order {cheap.pk}, task {cheap.task_id}: KIE took 6.5 credits for this order; 5 " in told
    )
    assert "1 difference is open." in told
    assert figures() == [(500, 650)]


@pytest.mark.parametrize(
    ("fault", "reason"), [("empty", Reason.EMPTY), ("result_junk", Reason.PICTURE)]
)
def test_what_was_paid_and_brought_no_picture(
    kie: Sandbox, scene: Scene, fault: str, reason: Reason
) -> None:
    order = followed(sent(kie, scene, fault))
    assert (order.state, order.reason) == (State.FAILED, reason)
    assert "KIE took 6.5 credits for an order that brought no picture." in refused()
    assert figures() == [(0, 650)]


def test_it_goes_when_the_picture_comes_after_all(kie: Sandbox, scene: Scene) -> None:
    order = followed(sent(kie, scene, "result_404"))
    assert (order.state, order.reason) == (State.REVIEW, Reason.EXPIRED)
    refused()
    assert figures() == [(0, 650)]
    kie.account.tasks._db.execute("UPDATE tasks SET faults = '[]'")
    assert lifecycle.try_again(order)
    assert followed(order).state == State.DONE
    command()
    assert not Difference.objects.exists()


def test_what_kie_took_for_a_failure_is_kept(kie: Sandbox, scene: Scene) -> None:
    assert followed(sent(kie, scene, "moderation")).kie_credits_used == 0


def test_an_order_of_which_kie_has_said_nothing_is_asked_after(kie: Sandbox, scene: Scene) -> None:
    order = followed(sent(kie, scene))
    Generation.objects.update(kie_credits_used=None)
    assert "Compared 1 orders; asked again after 1; left at KIE: 993.5 credits" in command()
    order.refresh_from_db()
    assert order.kie_credits_used == 650
    assert "asked again" not in command()


def test_what_kie_said_too_early_is_corrected(kie: Sandbox, scene: Scene) -> None:
    """The credits of a failed task were still reserved when it was asked after."""
    followed(sent(kie, scene, "moderation"))
    Generation.objects.update(kie_credits_used=650)
    command()
    assert Generation.objects.get().kie_credits_used == 0


def test_kie_knows_nothing_of_it_any_more(kie: Sandbox, scene: Scene) -> None:
    order = followed(sent(kie, scene))
    Generation.objects.update(kie_credits_used=None, task_id="forgotten")
    assert "KIE does not say what it took for 1;" in command()
    Generation.objects.update(
        task_id=order.task_id, created_at=timezone.now() - reconcile.KEPT - timedelta(hours=1)
    )
    assert "Compared 0 orders;" in command()
    assert "Compared 1 orders; KIE does not say what it took for 1;" in command(
        "--since", "2020-01-01"
    )


def test_odd_answers_stop_nobody_else(kie: Sandbox, scene: Scene) -> None:
    for _number in range(3):
        followed(sent(kie, scene))
    Generation.objects.update(kie_credits_used=None)
    next_faults(kie, "record_502", "record_lost")
    # An answer that breaks off is asked for once more by the client itself.
    assert "asked again after 3; KIE does not say what it took for 1;" in command()


def test_kie_has_had_enough(kie: Sandbox, scene: Scene) -> None:
    for _number in range(3):
        followed(sent(kie, scene))
    Generation.objects.update(kie_credits_used=None)
    next_faults(kie, "record_429")
    assert "KIE does not say what it took for 3;" in command()


def test_the_window_of_questions_holds_here_too(
    kie: Sandbox, scene: Scene, settings: Any, valkey: Redis
) -> None:
    for _number in range(3):
        followed(sent(kie, scene))
    Generation.objects.update(kie_credits_used=None)
    valkey.flushall()
    settings.KIE_QUERIES = 2
    assert "asked again after 2; KIE does not say what it took for 1;" in command()


def test_what_kie_made_after_all_is_fetched_and_free(kie: Sandbox, scene: Scene) -> None:
    """A task without an end within a day, that has one now."""
    order = sent(kie, scene)
    Generation.objects.filter(pk=order.pk).update(next_at=timezone.now())
    (claimed,) = lifecycle.claim([order.pk], State.RUNNING)
    lifecycle.give_up(claimed, Reason.LOST, "No end of the task within a day")
    later(kie)
    command()
    order.refresh_from_db()
    assert order.state == State.RUNNING
    assert followed(order).state == State.DONE
    assert ledger.ledger_of(scene.project.owner).balance == 100_000
    assert "Compared 1 orders" in command()


# The account


def test_a_foreign_task_on_our_account(kie: Sandbox, scene: Scene) -> None:
    command()
    followed(sent(kie, scene))
    Kie(kie.url, kie.url, "other").create_task(FOREIGN)
    told = refused()
    assert "The balance fell by 12.5 credits and our orders explain 6.5 credits: 6 credits" in told
    assert figures() == [(650, 1250)]
    followed(sent(kie, scene))
    refused()
    assert figures() == [(650, 1250)]  # told once, not at every sample


def test_credits_that_were_bought(kie: Sandbox, scene: Scene) -> None:
    command()
    followed(sent(kie, scene))
    set_up(kie, credits=left(kie) + 500)
    assert "The balance is 500 credits higher than our orders explain" in refused()
    assert len(reconcile.settle(Difference.objects.all(), "Bought 500, invoice 7")) == 1
    assert "Compared 1 orders" in command()


def test_a_lost_order_is_found_in_the_balance_and_explained_by_its_task(
    kie: Sandbox, scene: Scene
) -> None:
    command()
    lost = sent(kie, scene, "create_lost")
    assert lost.state == State.UNKNOWN
    of_an_earlier_minute(lost)
    assert "the balance waits for the answer to orders under way" in command()
    never_told(lost)
    told = refused()
    assert f"Orders whose answer was lost in this time: {lost.pk}." in told
    assert figures() == [(0, 650)]
    # Staff find its task in KIE's log.
    (task,) = requests.get(f"{kie.url}/sandbox/tasks", timeout=5).json()
    lifecycle.adopt(lost, task["taskId"])
    assert followed(lost).state == State.DONE
    assert "Compared 1 orders" in command()
    assert not Difference.objects.exists()


def test_a_lost_order_that_kie_never_had_explains_nothing(kie: Sandbox, scene: Scene) -> None:
    command()
    lost = sent(kie, scene, "create_502")
    of_an_earlier_minute(lost)
    never_told(lost)
    assert "Compared 0 orders; left at KIE: 1,000 credits." in command()


@pytest.mark.parametrize("fault", ["", "moderation", "record_501"])
def test_an_order_that_is_under_way_at_a_sample(kie: Sandbox, scene: Scene, fault: str) -> None:
    """KIE has its credits, and gives them back after the sample if it fails."""
    set_up(kie, seconds=600)
    command()
    order = sent(kie, scene, *filter(None, [fault]))
    assert "left at KIE: 993.5 credits" in command()
    later(kie)
    ended = followed(order)
    assert ended.state == (State.FAILED if fault else State.DONE)
    assert f"left at KIE: {'1,000' if fault else 993.5} credits" in command()
    assert not Difference.objects.exists()


def no_sample() -> bool:
    before = BalanceSample.objects.count()
    assert "no balance noted: orders were moving all the time" in command()
    return BalanceSample.objects.count() == before


def test_no_sample_where_a_task_failed_and_nobody_has_asked(kie: Sandbox, scene: Scene) -> None:
    order = sent(kie, scene, "moderation")
    later(kie)
    assert no_sample()
    followed(order)
    assert "left at KIE: 1,000 credits" in command()


def test_no_sample_right_after_a_failure(
    kie: Sandbox, scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody knows how soon KIE gives the credits back."""
    monkeypatch.setattr(reconcile, "GIVEN_BACK", timedelta(minutes=1))
    followed(sent(kie, scene))
    command()
    followed(sent(kie, scene, "moderation"))
    assert no_sample()
    monkeypatch.setattr(reconcile, "GIVEN_BACK", timedelta(0))
    assert "left at KIE: 993.5 credits" in command()


def test_no_sample_where_a_task_cannot_be_asked_after(
    kie: Sandbox, scene: Scene, settings: Any, valkey: Redis
) -> None:
    set_up(kie, seconds=600)
    sent(kie, scene)
    next_faults(kie, "record_500")
    assert no_sample()
    settings.KIE_QUERIES = 0
    assert no_sample()


def test_no_sample_while_an_order_is_on_its_way(kie: Sandbox, scene: Scene) -> None:
    stages.ordered(scene)
    order = lifecycle.claim_next_in_line()
    assert order is not None
    assert "left at KIE: 1,000 credits" in command()
    lifecycle.submitting(order)
    assert no_sample()
    lifecycle.unclear(order, "no answer")
    assert no_sample()


@pytest.mark.parametrize("fault", ["", "create_lost", "create_502"])
def test_no_sample_where_an_order_went_out_meanwhile(
    kie: Sandbox, scene: Scene, monkeypatch: pytest.MonkeyPatch, fault: str
) -> None:
    ask = Kie.credit

    def busy(account: Kie) -> int:
        monkeypatch.setattr(Kie, "credit", ask)
        credits = account.credit()
        sent(kie, scene, *filter(None, [fault]))
        return credits

    monkeypatch.setattr(Kie, "credit", busy)
    assert no_sample()


def test_a_calm_moment_is_waited_for(
    kie: Sandbox, scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    stages.ordered(scene)
    order = lifecycle.claim_next_in_line()
    assert order is not None
    lifecycle.submitting(order)

    def wait(seconds: float) -> None:
        if seconds:
            lifecycle.send_back(order, 60, "refused")

    monkeypatch.setattr(reconcile, "PAUSES", (0, 5))
    monkeypatch.setattr("time.sleep", wait)
    assert "left at KIE: 1,000 credits" in command()


def test_another_account_is_another_balance(kie: Sandbox, settings: Any) -> None:
    command()
    with Sandbox(Options(port=0, credits=70)) as other:
        settings.KIE_API_URL = other.url
        assert "left at KIE: 70 credits" in command()
    assert not Difference.objects.exists()


# KIE does not answer


def test_a_dead_kie_is_an_error_and_no_sample(kie: Sandbox, scene: Scene, settings: Any) -> None:
    followed(sent(kie, scene))
    Generation.objects.update(kie_credits_used=700)
    with servers.held_port() as port:
        settings.KIE_API_URL = f"http://127.0.0.1:{port}"
        told = refused()
    assert told.startswith("KIE does not say what is left, so nothing was compared: could not")
    assert not BalanceSample.objects.exists()
    assert not Difference.objects.exists()


def test_a_refused_key_is_an_error(kie: Sandbox) -> None:
    kie.options.key = "another"
    assert "nothing was compared: 401: Unauthorized" in refused()


def test_a_day_is_a_day(kie: Sandbox) -> None:
    with pytest.raises(CommandError, match="'2026-13-01' is not a date like 2026-11-30"):
        command("--since", "2026-13-01")


# Settled


def test_what_is_settled_comes_back_only_with_other_figures(kie: Sandbox, scene: Scene) -> None:
    followed(sent(kie, scene))
    Generation.objects.update(kie_credits=600)
    refused()
    assert len(reconcile.settle(Difference.objects.all(), "The price was raised")) == 1
    assert reconcile.settle(Difference.objects.all(), "Again") == []
    assert "asked again" not in command()
    Generation.objects.update(kie_credits=500)
    refused()
    assert figures() == [(500, 650)]
    assert Difference.objects.get().note == "The price was raised"


def test_an_older_difference_stays_open(kie: Sandbox, scene: Scene) -> None:
    followed(sent(kie, scene))
    Generation.objects.update(kie_credits=600)
    refused()
    Generation.objects.update(created_at=timezone.now() - timedelta(days=70))
    assert "Compared 0 orders" in refused()


def test_no_more_queries_when_there_is_more_to_compare(kie: Sandbox, scene: Scene) -> None:
    def count() -> int:
        with CaptureQueriesContext(connection) as captured:
            command()
        return len(captured)

    followed(sent(kie, scene))
    command()
    few = count()
    for _number in range(3):
        followed(sent(kie, scene))
        command()
    assert count() == few
