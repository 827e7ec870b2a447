"""manage.py check_ledger: what must be true between orders, takes and money."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import timedelta
from io import StringIO

import pytest
from django.contrib.auth.models import User
from django.core.management import CommandError, call_command
from django.utils import timezone
from pytest_django.fixtures import DjangoAssertNumQueries

from credits import ledger
from generation import audit, lifecycle, orders
from generation.models import Ask, Event, Generation, Output, Reason, State, TakenBack
from projects.models import Member, Project, Scene, Take
from tests.test_lifecycle import STORED, claim, place, running, sent, storing

pytestmark = pytest.mark.django_db


@pytest.fixture
def scene(project: Project, catalogue: None) -> Scene:
    ledger.grant(ledger.ledger_of(project.owner), 50_000, reference="g", about=ledger.About())
    return Scene.objects.create(project=project, number="1", position=1, description="Duny")


def done(scene: Scene, key: str) -> Generation:
    generation = storing(place(scene, key), urls=2)
    lifecycle.done(generation, {0: STORED, 1: STORED})
    return generation


def failed(scene: Scene, key: str) -> Generation:
    generation = running(place(scene, key), task_id=key)
    lifecycle.fail(generation, "render", "Internal server error")
    return generation


def in_review(scene: Scene, key: str) -> Generation:
    generation = sent(place(scene, key))
    lifecycle.unclear(generation, "no answer")
    Generation.objects.filter(pk=generation.pk).update(next_at=timezone.now())
    unknown = claim(generation, State.UNKNOWN)
    lifecycle.give_up(unknown, Reason.LOST, "nobody knows")
    return unknown


def late_and_free(scene: Scene, key: str) -> Generation:
    generation = in_review(scene, key)
    assert lifecycle.adopt(generation, key)
    followed = claim(generation, State.RUNNING)
    lifecycle.succeeded(followed, ["https://kie/late.png"], 650, {"code": 200})
    lifecycle.done(claim(generation, State.STORING), {0: STORED})
    return generation


def for_nothing(scene: Scene, key: str) -> Generation:
    """An order of staff that nobody pays, and for no project."""
    order = orders.prepare(orders.Wish(prompt="Duny", free=True))
    return orders.place(order, orders.Terms(user=scene.project.owner, key=key))


def check() -> str:
    out = StringIO()
    call_command("check_ledger", stdout=out, stderr=StringIO())
    return out.getvalue()


def test_every_way_through_an_order_is_right(scene: Scene) -> None:
    place(scene, "queued")
    sent(place(scene, "submitting"))
    lifecycle.unclear(sent(place(scene, "unknown")), "no answer")
    running(place(scene, "running"), task_id="running")
    done(scene, "done")
    failed(scene, "failed")
    assert lifecycle.cancel(place(scene, "cancelled"))
    in_review(scene, "review")
    late_and_free(scene, "late")
    for_nothing(scene, "nothing")
    states = set(Generation.objects.values_list("state", flat=True))
    assert states == set(State.values) - {State.STORING}
    assert audit.violations() == []
    assert "for 1 ledgers, 15 entries, 10 orders, 3 pictures" in check()


def test_an_order_that_is_being_stored_is_right(scene: Scene) -> None:
    storing(place(scene))
    assert audit.violations() == []


Break = Callable[[Scene], object]


def change(make: Callable[[Scene, str], Generation], **fields: object) -> Break:
    """Makes an order the right way, then writes these fields behind everybody's back."""

    def broken(scene: Scene) -> None:
        generation = make(scene, "k")
        Generation.objects.filter(pk=generation.pk).update(**fields)

    return broken


def a_stray_entry(scene: Scene) -> None:
    book = ledger.ledger_of(scene.project.owner)
    ledger.hold(book, [(100, "generation:nobody:hold", ledger.About())])


def a_second_charge(scene: Scene) -> None:
    """Taken from the balance without a hold, under a reference that only looks like an order's."""
    generation = done(scene, "k")
    ledger.adjust(
        ledger.ledger_of(scene.project.owner),
        -100,
        reference=f"generation:{generation.pk}:capture2",
        about=ledger.About(description="x"),
    )


def a_foreign_payer(scene: Scene) -> None:
    other = User.objects.create_user("other")
    change(place, payer=other)(scene)


def a_released_running_order(scene: Scene) -> None:
    generation = running(place(scene))
    ledger.release(
        generation.hold_reference,
        reference=f"generation:{generation.pk}:release",
        about=ledger.About(),
    )


def a_lost_file(scene: Scene) -> None:
    done(scene, "k")
    Take.objects.update(image="")


def a_take_elsewhere(scene: Scene) -> None:
    done(scene, "k")
    other = Scene.objects.create(project=scene.project, number="2", position=2)
    Take.objects.update(scene=other)


def an_approval_without_order(scene: Scene) -> None:
    Ask.objects.create(
        member=Member.objects.get(), scene=scene, wish={}, price=650, answer=Ask.Answer.APPROVED
    )


def no_outputs(scene: Scene) -> None:
    storing(place(scene))
    Output.objects.all().delete()


def a_discarded_picture(scene: Scene) -> None:
    """It was thrown away, and there it is."""
    order = running(place(scene, "wrong"))
    lifecycle.take_back(order, TakenBack.DISCARD)
    lifecycle.succeeded(order, ["https://kie/1.png"], None, None)
    Generation.objects.filter(pk=order.pk).update(taken_back=TakenBack.KEEP)
    lifecycle.done(claim(order, State.STORING), {0: STORED})
    Generation.objects.filter(pk=order.pk).update(taken_back=TakenBack.DISCARD)


def no_trail(scene: Scene) -> None:
    place(scene)
    Event.objects.all().delete()


NOW = timezone.now() - timedelta(days=1)
BREAKS: tuple[tuple[Callable[[], Iterable[object]], Break], ...] = (
    (audit.paid_orders_have_their_hold, change(place, price=700)),
    (audit.paid_orders_have_their_hold, a_foreign_payer),
    (audit.free_orders_touch_no_money, change(place, payer=None)),
    (audit.free_orders_touch_no_money, change(failed, price=0)),
    (audit.done_orders_are_charged_or_given_back, change(place, state=State.DONE)),
    (audit.charges_are_what_was_quoted, change(done, cost=1)),
    (audit.charges_are_what_was_quoted, change(done, price=1)),
    (audit.charges_are_what_was_quoted, change(done, provider="gemini")),
    (audit.charges_are_what_was_quoted, change(done, project=None)),
    (audit.charges_are_what_was_quoted, change(done, state=State.RUNNING)),
    (audit.ended_without_picture_is_given_back, change(place, state=State.CANCELLED)),
    (audit.ended_without_picture_is_given_back, change(done, state=State.REVIEW)),
    (audit.holds_stay_until_the_end, change(failed, state=State.QUEUED)),
    (audit.holds_stay_until_the_end, a_released_running_order),
    (audit.taken_back_is_given_back, change(done, taken_back=TakenBack.KEEP)),
    (audit.taken_back_is_given_back, a_discarded_picture),
    (
        audit.taken_back_is_given_back,
        change(failed, state=State.QUEUED, taken_back=TakenBack.KEEP),
    ),
    (audit.entries_belong_to_an_order, a_stray_entry),
    (audit.entries_belong_to_an_order, a_second_charge),
    (audit.done_orders_have_a_stored_picture, a_lost_file),
    (audit.pictures_come_from_done_orders, change(done, state=State.STORING)),
    (audit.takes_hang_where_they_were_ordered, a_take_elsewhere),
    (audit.takes_hang_where_they_were_ordered, change(done, project=None)),
    (audit.tasks_fit_the_state, change(lambda s, k: running(place(s, k)), task_id=None)),
    (audit.tasks_fit_the_state, change(place, task_id="t")),
    (audit.outputs_fit_the_state, no_outputs),
    (audit.outputs_fit_the_state, change(done, state=State.UNKNOWN)),
    (audit.ends_have_their_time_and_reason, change(done, finished_at=None)),
    (audit.ends_have_their_time_and_reason, change(place, finished_at=NOW)),
    (audit.ends_have_their_time_and_reason, change(failed, reason="")),
    (audit.ends_have_their_time_and_reason, change(done, reason=Reason.LOST)),
    (audit.trails_lead_to_the_state, change(place, state=State.SUBMITTING)),
    (audit.trails_lead_to_the_state, no_trail),
    (audit.approved_asks_are_orders, an_approval_without_order),
)


@pytest.mark.parametrize(("question", "breaks"), BREAKS)
def test_what_is_wrong_is_found(
    scene: Scene, question: Callable[[], Iterable[object]], breaks: Break
) -> None:
    done(scene, "right")
    Generation.objects.filter(order_key="right").update(task_id="right")
    assert audit.violations() == []
    breaks(scene)
    assert list(question())
    with pytest.raises(CommandError, match="wrong"):
        check()


def test_every_question_has_been_asked() -> None:
    assert {question for question, _break in BREAKS} == set(audit.QUESTIONS)


def test_wrong_books_are_found_too(scene: Scene) -> None:
    type(ledger.ledger_of(scene.project.owner)).objects.update(balance=1)
    with pytest.raises(CommandError):
        check()


def test_one_statement_for_each_question(
    scene: Scene, django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    for number in range(3):
        place(scene, str(number))
    with django_assert_num_queries(len(audit.QUESTIONS)):
        audit.violations()
