"""What keeps an open page true: who hears what, what is told, and what a page is sent then."""

from __future__ import annotations

import asyncio
import json
import re
import time
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.db import connection, transaction
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from redis.exceptions import ConnectionError as NoRedis
from redis.exceptions import TimeoutError as HangingRedis

from generation import asks, lifecycle
from generation.models import Ask, Generation, ImageSettings, State, TakenBack
from generation.wishes import Wish
from imagegen.streams import Streams
from projects import live
from projects.models import Member, Project, Scene
from projects.slate import move, touch
from tests import stages
from tests.open_page import OpenPage
from tests.threads import in_a_loop

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("catalogue")]

HTMX = {"HX-Request": "true"}


@pytest.fixture
def client(alice: User) -> Client:
    stages.give_credits(alice, 100_000)
    return signed_in(alice)


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> dict[str, set[str]]:
    """The names that each audience has been told."""
    found: dict[str, set[str]] = {}

    def publish(channel: str, said: str) -> None:
        audience, *names = json.loads(said)
        found.setdefault(audience, set()).update(names)

    monkeypatch.setattr(live, "redis", lambda: SimpleNamespace(publish=publish))
    return found


def signed_in(user: User) -> Client:
    client = Client()
    client.force_login(user)
    return client


def board_of(project: Project) -> str:
    return reverse("generation:board", args=[project.pk])


# Who hears what


def test_a_page_hears_of_its_project_its_person_and_what_holds_for_all(
    project: Project, bob: User
) -> None:
    client = signed_in(bob)
    answer = client.get(reverse("generation:project_stream", args=[project.pk]))
    assert answer.status_code == 204
    assert answer["Listen"].split() == ["everybody", f"user-{bob.pk}", f"project-{project.pk}"]
    assert client.get(reverse("generation:stream"))["Listen"].split() == [
        "everybody",
        f"user-{bob.pk}",
    ]


@pytest.mark.parametrize(("name", "status"), [("charlie", 404), ("staff", 404), (None, 302)])
def test_strangers_hear_nothing(
    name: str | None, status: int, project: Project, request: Any
) -> None:
    client = signed_in(request.getfixturevalue(name)) if name else Client()
    answer = client.get(reverse("generation:project_stream", args=[project.pk]))
    assert answer.status_code == status
    assert "Listen" not in answer
    assert client.get(board_of(project), {"fresh": "frame:"}, headers=HTMX).status_code == status


def test_every_page_with_something_live_says_where_it_listens(
    client: Client, project: Project
) -> None:
    scene = stages.add_scene(project)
    order = stages.ordered(scene)
    own = reverse("generation:project_stream", args=[project.pk])
    for address, stream in (
        (board_of(project), own),
        (reverse("generation:subject", args=["scene", scene.pk]), own),
        (reverse("generation:order", args=[order.pk]), own),
        (reverse("generation:queue"), reverse("generation:stream")),
    ):
        (found,) = re.findall(
            r'data-stream="([^?"]+)\?since=\d{13}"', OpenPage(client, address).html
        )
        assert found == stream


# What is told


@pytest.fixture
def committed(django_capture_on_commit_callbacks: Any) -> Callable[..., Any]:
    def do(work: Callable[[], Any]) -> Any:
        with django_capture_on_commit_callbacks(execute=True):
            return work()

    return do


def test_an_order_tells_its_card_and_its_people(
    project: Project, alice: User, bob: User, told: dict[str, set[str]], committed: Any
) -> None:
    stages.give_credits(alice, 10_000)
    scene = stages.add_scene(project)
    order = committed(lambda: stages.ordered(scene, bob))
    card, of_order = f"scene-{scene.pk}", f"order-{order.pk}"
    of_all, of_alice, of_bob = f"project-{project.pk}", f"user-{alice.pk}", f"user-{bob.pk}"
    assert told == {
        of_all: {f"~{card}", f"~{of_order}", "~scenes"},
        of_alice: {f"~{of_order}", "~orders", "~credits"},  # she pays
        of_bob: {f"~{of_order}", "~orders", "~credits"},
    }
    told.clear()
    for step in (stages.running, stages.made):
        told.clear()
        committed(lambda step=step: step(order))  # nothing is counted anew, and nothing hurries
        assert told[of_all] == {f"~{card}", f"~{of_order}"}
        assert told[of_alice] == told[of_bob] == {f"~{of_order}", "~orders"}
    told.clear()
    committed(lambda: stages.stored(order))
    assert told[of_all] == {card, of_order, "scenes"}
    assert told[of_alice] == told[of_bob] == {of_order, "orders", "credits"}


def test_one_that_was_given_up_is_counted_anew(
    project: Project, told: dict[str, set[str]], committed: Any
) -> None:
    stages.give_credits(project.owner, 10_000)
    order = stages.lost(stages.ordered(stages.add_scene(project)))
    told.clear()
    committed(lambda: lifecycle.adopt(order, "task-1"))
    assert "scenes" in told[f"project-{project.pk}"]
    assert "credits" in told[f"user-{project.owner_id}"]


@pytest.mark.parametrize(
    "end",
    [
        lambda order: lifecycle.cancel(order),
        lambda order: stages.failed(order),
        lambda order: stages.lost(order),
        lambda order: lifecycle.take_back(stages.running(order), TakenBack.DISCARD),
    ],
)
def test_every_end_is_told(
    end: Any, project: Project, told: dict[str, set[str]], committed: Any
) -> None:
    stages.give_credits(project.owner, 10_000)
    scene = stages.add_scene(project)
    order = stages.ordered(scene)
    committed(lambda: end(order))
    assert f"scene-{scene.pk}" in told[f"project-{project.pk}"]
    assert "credits" in told[f"user-{project.owner_id}"]


def test_what_was_rolled_back_is_not_told(project: Project, told: dict[str, set[str]]) -> None:
    with pytest.raises(ZeroDivisionError), transaction.atomic():
        touch(project)
        _ = 1 / 0
    assert not told


def test_what_people_change_is_told(
    client: Client, project: Project, told: dict[str, set[str]], committed: Any
) -> None:
    scene, person = stages.add_scene(project), stages.add_character(project)
    first = stages.add_take(scene)
    audience = f"project-{project.pk}"

    def posts(act: str, thing: Any, **form: str) -> set[str]:
        told.clear()
        address = reverse(act, args=[thing.pk])
        answer = committed(lambda: client.post(address, form))
        assert answer.status_code == 302, answer.content
        return told[audience]

    everything = {live.EVERYTHING}
    assert posts("projects:take_choose", first) == everything
    assert posts("projects:scene_edit", scene, number="7", description="Snow") == everything
    assert posts("projects:character_edit", person, name="Miro") == everything
    assert posts("projects:scene_new", project, number="8", description="Snow") == everything
    assert posts("projects:scene_delete", Scene.objects.get(number="8")) == everything
    told.clear()
    settings = reverse("generation:settings", args=[project.pk])
    form = {"name": "N", "style": "35 mm", "model": "z-image", "scene_aspect_ratio": "16:9"}
    committed(lambda: client.post(settings, form | {"character_aspect_ratio": "1:1"}))
    assert ImageSettings.objects.get().model == "z-image"
    assert told[audience] == everything


def test_asks_and_their_answers_are_told(
    project: Project, alice: User, bob: User, told: dict[str, set[str]], committed: Any
) -> None:
    Member.objects.filter(user=bob).update(allowance=0)
    ImageSettings.objects.create(project=project, model="seedream-3.0/2k")
    scene = stages.add_scene(project)
    wish = Wish(project=project, subject=scene)
    found = committed(lambda: asks.ask(wish, bob, 600))
    both = {f"user-{alice.pk}": {"asks"}, f"user-{bob.pk}": {"asks", f"scene-{scene.pk}"}}
    assert told == both
    told.clear()
    committed(lambda: asks.decline(found, ""))
    assert told == both


def test_whoever_is_removed_is_told_first(
    client: Client, project: Project, bob: User, told: dict[str, set[str]], committed: Any
) -> None:
    member = Member.objects.get(user=bob)
    address = reverse("generation:member_remove", args=[project.pk, member.pk])
    committed(lambda: client.post(address))
    assert told == {f"user-{bob.pk}": {live.GONE}}


def test_what_holds_orders_up_is_told_to_everybody(
    staff: User, told: dict[str, set[str]], committed: Any
) -> None:
    committed(lambda: lifecycle.pause("kie", "Top up"))
    assert told == {"everybody": {"site"}}


def test_without_redis_everything_is_written_all_the_same(
    project: Project, monkeypatch: pytest.MonkeyPatch, committed: Any
) -> None:
    def publish(*_: object) -> None:
        raise NoRedis("away")

    monkeypatch.setattr(live, "redis", lambda: SimpleNamespace(publish=publish))
    stages.give_credits(project.owner, 10_000)
    scene = stages.add_scene(project)
    committed(lambda: stages.done(stages.ordered(scene)))
    assert Generation.objects.get().state == State.DONE


def test_a_redis_that_hangs_is_waited_for_once(
    project: Project, monkeypatch: pytest.MonkeyPatch, committed: Any
) -> None:
    now, waits = 1000.0, 0

    def publish(*_: object) -> None:
        nonlocal waits
        waits += 1
        raise HangingRedis("no answer in time")

    def order_two() -> None:
        for number in (1, 2):
            stages.ordered(stages.add_scene(project, number))

    monkeypatch.setattr(live, "redis", lambda: SimpleNamespace(publish=publish))
    monkeypatch.setattr(live, "monotonic", lambda: now)
    monkeypatch.setattr(live, "_silent_until", 0.0)
    stages.give_credits(project.owner, 10_000)
    committed(order_two)
    assert waits == 1
    now += live.HANGS_FOR
    committed(lambda: live.tell("everybody", "site"))
    assert waits == 2


# What a page is sent


def test_only_the_cards_that_changed(client: Client, project: Project) -> None:
    one, two = stages.add_scene(project, 1), stages.add_scene(project, 2)
    stages.add_character(project)
    board = OpenPage(client, board_of(project))
    assert board.ask().status_code == 204
    order = stages.ordered(one)
    changed = board.changed()
    assert changed.keys() == {
        f"scene-{one.pk}",
        "news",
        "filters",
        "several",
        *("frame", "balance", "open-orders", "dock-orders", "open-asks", "held-up"),
    }
    assert board.ask().status_code == 204
    stages.arrive(stages.running(order))
    changed = board.changed(f"scene-{one.pk}", f"scene-{two.pk}")  # the frame was not asked for
    assert changed.keys() == {f"scene-{one.pk}", "news"}
    assert "Scene 1: the picture is ready." in changed["news"]


def test_a_face_that_changed_changes_the_cards_of_its_scenes(
    client: Client, project: Project
) -> None:
    scene, person = stages.add_scene(project), stages.add_character(project)
    scene.cast.add(person)
    board = OpenPage(client, board_of(project))
    assert f'data-live="scene-{scene.pk} character-{person.pk}"' in board.html
    stages.add_take(person)
    assert {f"scene-{scene.pk}", f"character-{person.pk}"} <= board.changed().keys()


def test_the_filters_follow_with_the_one_that_is_chosen(client: Client, project: Project) -> None:
    stages.add_scene(project, 1)
    scene = stages.add_scene(project, 2)
    board = OpenPage(client, f"{board_of(project)}?show=missing")
    stages.done(stages.ordered(scene))
    filters = board.changed("filters")["filters"]
    assert re.search(r'<a href="\?show=missing" aria-current="true">Missing <b>1</b>', filters)
    assert '<a href="?">All <b>2</b>' in filters


def test_a_scene_that_is_gone_leaves_the_board(client: Client, project: Project) -> None:
    scene = stages.add_scene(project)
    board = OpenPage(client, board_of(project))
    part = f"scene-{scene.pk}"
    scene.delete()
    assert board.changed()[part].startswith(f'<li id="{part}" hx-swap-oob="delete">')


def test_the_scenes_fetch_themselves_when_there_are_others(
    client: Client, project: Project
) -> None:
    one, two = stages.add_scene(project, 1), stages.add_scene(project, 2)
    board = OpenPage(client, board_of(project))
    missing = OpenPage(client, f"{board_of(project)}?show=missing")
    assert "HX-Trigger" not in board.ask()
    move(one, "after", two)
    assert board.ask()["HX-Trigger"] == "scenes-moved"
    assert "HX-Trigger" not in missing.ask(), "who works through a list keeps it"


def test_what_is_another_projects_is_not_sent(
    client: Client, project: Project, charlie: User
) -> None:
    other = Project.objects.create(owner=charlie, name="Secret")
    scene = stages.add_scene(other)
    asked = {"fresh": f"scene-{scene.pk}:"}
    html = client.get(board_of(project), asked, headers=HTMX).content.decode()
    assert scene.title not in html


def test_a_removed_member_gets_nothing_more(project: Project, bob: User) -> None:
    scene = stages.add_scene(project)
    board = OpenPage(signed_in(bob), board_of(project))
    page = OpenPage(signed_in(bob), reverse("generation:subject", args=["scene", scene.pk]))
    Member.objects.filter(user=bob).delete()
    assert board.ask().status_code == page.ask().status_code == 404


def test_a_new_ask_comes_to_the_owners_open_pages(
    client: Client, project: Project, bob: User
) -> None:
    Member.objects.filter(user=bob).update(allowance=0)
    ImageSettings.objects.create(project=project, model="seedream-3.0/2k")
    scene = stages.add_scene(project)
    board = OpenPage(client, board_of(project))
    queue = OpenPage(client, reverse("generation:queue"))
    asks.ask(Wish(project=project, subject=scene), bob, 600)
    for page in (board, queue):
        changed = page.changed()
        assert "You are asked for 1 picture" in changed["asks"]
        assert "ask waits for your answer" in changed["open-asks"]
    asks.take_back(Ask.objects.get())
    assert "hidden" in board.changed()["asks"]


def test_odd_asks_change_nothing(client: Client, project: Project) -> None:
    for odd in ("", ",", "scene-", "nothing:1", "frame", ":", "x" * 3000, "scene-%00:1"):
        answer = client.get(f"{board_of(project)}?fresh={odd}", headers=HTMX)
        assert answer.status_code in (200, 204, 400), odd


def test_no_more_queries_when_there_are_more_scenes(client: Client, project: Project) -> None:
    people = [stages.add_character(project, name) for name in "AB"]

    def fill(number: int) -> OpenPage:
        first = project.scenes.count()
        Scene.objects.bulk_create(
            Scene(project=project, number=str(n), position=n, description="x")
            for n in range(first + 1, first + number + 1)
        )
        for n, scene in enumerate(project.scenes.order_by("-position")[:10]):
            scene.cast.set(people)
            (stages.done, stages.failed, stages.running)[n % 3](stages.ordered(scene))
        return OpenPage(client, board_of(project))

    def cost(page: OpenPage, *parts: str) -> int:
        with CaptureQueriesContext(connection) as captured:
            page.ask(*parts)
        return len(captured)

    few = fill(10)
    one = next(part for part in few.parts if part.startswith("scene-"))
    costs = cost(few), cost(few, one)
    many = fill(990)
    assert (cost(many), cost(many, one)) == costs
    assert costs[1] <= 17


# Streams


@pytest.fixture
def redis_url(settings: Any) -> str:
    return str(settings.REDIS_URL)


class Reader:
    """What a stream has told: sets of names, the first one as it was opened."""

    def __init__(self) -> None:
        self.told: list[set[str]] = []

    async def write(self, event: bytes) -> None:
        found = re.fullmatch(rb"id: \d{13}\ndata: (.+)\n\n", event)
        assert found, event
        self.told.append(set(found[1].decode().split()))

    async def until(self, is_so: Callable[[], bool]) -> None:
        async with asyncio.timeout(10):
            while not is_so():
                await asyncio.sleep(0.01)


def with_streams(work: Callable[[Streams], Any], redis_url: str) -> None:
    async def run() -> None:
        streams = Streams(redis_url)
        streams.start()
        await work(streams)

    in_a_loop(run())


def test_a_stream_tells_its_audiences_what_they_are_told(redis_url: str) -> None:
    async def work(streams: Streams) -> None:
        reader = Reader()
        listener = await streams.open(["project-a", "user-1"])
        assert listener
        keeping = asyncio.create_task(streams.keep(listener, time.time(), reader.write))
        await reader.until(lambda: len(reader.told) == 1)
        for said in (["project-b", "not"], ["project-a", "scene-1"], ["user-1", "credits"]):
            live.redis().publish(live.CHANNEL, json.dumps(said))
        await reader.until(lambda: {"scene-1", "credits"} <= set().union(*reader.told))
        assert "not" not in set().union(*reader.told)
        live.redis().publish(live.CHANNEL, json.dumps(["user-1", live.GONE]))
        async with asyncio.timeout(10):
            await keeping

    with_streams(work, redis_url)


def test_who_comes_back_is_told_whether_something_was_missed(
    redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("imagegen.streams.MARGIN", 0)

    async def work(streams: Streams) -> None:
        async def first_word(since: float) -> set[str]:
            listener = await streams.open(["project-a"])
            assert listener
            reader = Reader()
            keeping = asyncio.create_task(streams.keep(listener, since, reader.write))
            await reader.until(lambda: bool(reader.told))
            listener.end()
            await keeping
            return reader.told[0]

        assert await first_word(time.time() - 5) == {"*"}, "nobody listened then"
        before = time.time()
        assert await first_word(before) == {"-"}
        live.redis().publish(live.CHANNEL, json.dumps(["project-a", "scene-1"]))
        await asyncio.sleep(0.1)
        assert await first_word(before) == {"*"}
        assert await first_word(time.time()) == {"-"}

    with_streams(work, redis_url)


def test_without_redis_there_are_no_streams() -> None:
    async def work(streams: Streams) -> None:
        assert await streams.open(["project-a"]) is None

    with_streams(work, "redis://127.0.0.1:1/0")


def test_one_person_cannot_have_all_the_streams(redis_url: str) -> None:
    async def work(streams: Streams) -> None:
        opened = [await streams.open(["everybody", "user-1"]) for _ in range(41)]
        assert opened[-1] is None and None not in opened[:-1]
        assert await streams.open(["everybody", "user-2"])

    with_streams(work, redis_url)
