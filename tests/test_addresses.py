"""Every address × everybody × every method, from the URLconf. An address without a row fails."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.test import Client
from django.urls import URLPattern, URLResolver, get_resolver, reverse

from generation import callbacks
from generation.models import Ask, Batch
from projects import access
from projects.members import invite
from projects.models import ApiToken, Invitation, Member, Project, Role, Take
from tests import stages

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("catalogue")]

PEOPLE = ("nobody", "stranger", "viewer", "editor", "owner", "staff")
METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE")
Statuses = tuple[int, ...]  # one for each of PEOPLE


def only(look: int, *, viewer: int | None = None, editor: int | None = None) -> Statuses:
    """Of a project: nobody has to sign in, strangers and staff find nothing; `look` is for the
    owner, and for the others where nothing else is said."""
    change = look if editor is None else editor
    return (302, 404, change if viewer is None else viewer, change, look, 404)


def own(status: int) -> Statuses:
    """Of everybody who has signed in."""
    return (302, *[status] * 5)


def everybody(status: int) -> Statuses:
    return (status,) * 6


@dataclass(frozen=True)
class Row:
    """The statuses of GET (and HEAD) and POST; None: that method is refused, as all others are."""

    get: Statuses | None = None
    post: Statuses | None = None

    def status(self, method: str) -> Statuses:
        known = {"GET": self.get, "HEAD": self.get, "POST": self.post}.get(method)
        return known or everybody(405)


LOOK = Row(get=only(200))
FORM = Row(get=only(200, viewer=403), post=only(422, viewer=403))
OWNERS_ACT = Row(post=only(302, viewer=403, editor=403))
DELETE = Row(get=only(200, viewer=403), post=only(409, viewer=403))

# A POST carries no field at all.
ROWS: dict[str, Row] = {
    "projects:list": Row(get=own(200)),
    "projects:new": Row(get=own(200), post=own(422)),
    "projects:delete": Row(
        get=only(200, viewer=403, editor=403), post=only(409, viewer=403, editor=403)
    ),
    "projects:scene_new": FORM,
    "projects:scene_edit": FORM,
    "projects:scene_delete": DELETE,
    "projects:scenes_lock": Row(post=only(302, viewer=403)),
    "projects:scene_move": FORM,
    "projects:scene_lock": Row(post=only(302, viewer=403)),
    "projects:scene_upload": FORM,
    "projects:character_new": FORM,
    "projects:character_edit": FORM,
    "projects:character_delete": DELETE,
    "projects:character_upload": FORM,
    "projects:take_choose": Row(post=only(302, viewer=403)),
    "projects:take_star": Row(post=only(302, viewer=403)),
    "projects:take_trash": Row(post=only(302, viewer=403)),
    "projects:take_put_back": Row(post=only(302, viewer=403)),
    "projects:picture": LOOK,
    "projects:thumbnail": LOOK,
    # Members are led to the board; who brings nothing has neither accepted nor declined.
    "projects:invitation": Row(
        get=(302, 200, 302, 302, 302, 200), post=(302, 400, 302, 302, 302, 400)
    ),
    "projects:tokens": Row(get=own(200), post=own(422)),
    "projects:token_revoke": Row(post=(302, 404, 404, 404, 302, 404)),
    "projects:theme": Row(post=everybody(302)),
    "generation:board": LOOK,
    "generation:settings": Row(get=only(200), post=only(422, viewer=403)),
    "generation:use_replacement": Row(post=only(302, viewer=403)),
    "generation:flow": LOOK,
    "generation:bill": Row(get=only(200, viewer=403), post=only(400, viewer=403)),
    "generation:batch": LOOK,
    "generation:batch_put_away": Row(post=only(302, viewer=403, editor=403)),
    "generation:members": Row(get=only(200), post=only(422, viewer=403, editor=403)),
    "generation:leave": Row(post=only(302)),
    "generation:member_change": Row(
        get=only(302, viewer=403, editor=403), post=only(422, viewer=403, editor=403)
    ),
    "generation:member_remove": OWNERS_ACT,
    "generation:invitation_take_back": OWNERS_ACT,
    "generation:subject": LOOK,
    "generation:project_stream": Row(get=only(204)),
    "generation:compare": LOOK,
    "generation:generate": Row(post=only(400, viewer=403)),
    "generation:ask": Row(post=only(400, viewer=403)),
    "generation:ask_answer": Row(post=own(400)),
    # The editor's own; once they have taken it back, it is not there for the owner either.
    "generation:ask_take_back": Row(post=only(404, viewer=403, editor=302)),
    "generation:order": LOOK,
    "generation:cancel": Row(get=only(302, viewer=403), post=only(302, viewer=403)),
    "generation:receipt": Row(get=only(302)),
    "generation:rework": Row(get=only(200, viewer=403), post=only(400, viewer=403)),
    "generation:queue": Row(get=own(200)),
    "generation:stream": Row(get=own(204)),
    "generation:credits": Row(get=own(200)),
    "generation:credits_csv": Row(get=own(200)),
    "generation:sample": Row(get=own(200)),
    "generation:api_image": Row(post=(401, *[400] * 5)),
    "generation:api_image_status": Row(get=(401, 404, 200, 200, 200, 404)),
    "generation:callback": Row(post=everybody(400)),  # no task is named
    "generation:healthz": Row(get=everybody(503)),
}
# django-allauth's pages of an account, and Django's way to choose a language.
FOREIGN = ("account_", "set_language")
UNNAMED = "unnamed"  # the admin's redirects from the addresses of old Djangos
# Only for staff; whoever else comes is sent to sign in. What staff may do there is in test_admin.
OF_STAFF = ("admin:", "django_rq", "rq_")


def addresses() -> dict[str, set[str]]:
    """The names of all addresses, and the names of their arguments."""
    return {name: args for name, args, _route in _walk(get_resolver(), "", "")}


def _walk(resolver: URLResolver, namespace: str, route: str) -> Iterator[tuple[str, set[str], str]]:
    for pattern in resolver.url_patterns:
        path = f"{route}{pattern.pattern}"
        if isinstance(pattern, URLResolver):
            inner = f"{namespace}{pattern.namespace}:" if pattern.namespace else namespace
            yield from _walk(pattern, inner, path)
        elif isinstance(pattern, URLPattern):
            name = f"{namespace}{pattern.name or UNNAMED}"
            found = pattern.pattern
            yield name, {*found.converters, *found.regex.groupindex}, path


def of_staff(name: str) -> bool:
    return name.startswith(OF_STAFF)


def test_every_address_has_a_row() -> None:
    ours = {n for n in addresses() if not n.startswith(FOREIGN) and not of_staff(n)}
    assert ours == ROWS.keys()


@pytest.fixture
def clients(alice: User, bob: User, charlie: User, staff: User, project: Project) -> Any:
    """Somebody of each kind, signed in."""
    viewer = User.objects.create_user("dana")
    Member.objects.create(project=project, user=viewer, role=Role.VIEWER)
    people = (None, charlie, viewer, bob, alice, staff)
    found = {}
    for kind, user in zip(PEOPLE, people, strict=True):
        client = Client()
        if user:
            client.force_login(user)
        found[kind] = client
    return found


@pytest.fixture
def arguments(project: Project, bob: User, settings: Any) -> dict[str, Any]:
    """One thing of each kind that an address may name, all of one project."""
    stages.give_credits(project.owner, 5000)
    scene, character = stages.add_scene(project), stages.add_character(project)
    take = stages.done(stages.ordered(scene))
    for name in (take.image.name, take.thumbnail.name):
        path = settings.MEDIA_ROOT / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"picture")
    access.issue_token(project.owner, "mine")
    order = take.output.generation
    model = order.model
    model.sample = Take.objects.create(
        made_by=project.owner, image=take.image.name, thumbnail=take.thumbnail.name
    )
    model.save(update_fields=["sample"])
    member = Member.objects.get(user=bob)
    ask = Ask.objects.create(member=member, scene=scene, wish={}, price=650)
    batch = Batch.objects.create(project=project, ordered_by=project.owner, key="0" * 32)
    token = invite(project, "somebody@example.com", Role.EDITOR, None)
    return {
        "project_id": project.pk,
        "scene_id": scene.pk,
        "character_id": character.pk,
        "take_id": take.pk,
        "operation": "edit",
        "kind": "scene",
        "subject_id": scene.pk,
        "generation_id": order.pk,
        "tag": callbacks.tag_for(order.pk),
        "token_id": ApiToken.objects.get().pk,
        "model_pk": model.pk,
        "member_id": member.pk,
        "ask_id": ask.pk,
        "batch_id": batch.pk,
        "key": token,
        "invitation_id": Invitation.objects.get().pk,
    }


# A POST may change what the other methods would meet; those change nothing.
@pytest.mark.parametrize("methods", [[m for m in METHODS if m != "POST"], ["POST"]], ids="-".join)
@pytest.mark.parametrize("name", ROWS)
def test_who_gets_what(
    name: str, methods: list[str], clients: Any, arguments: dict[str, Any]
) -> None:
    wanted = {key: arguments[key] for key in addresses()[name]}
    address = reverse(name, kwargs=wanted)
    for method in methods:
        got = tuple(clients[kind].generic(method, address).status_code for kind in PEOPLE)
        assert dict(zip(PEOPLE, got, strict=True)) == dict(
            zip(PEOPLE, ROWS[name].status(method), strict=True)
        ), method


@pytest.mark.parametrize("method", METHODS)
def test_what_is_for_staff_sends_everybody_else_to_sign_in(method: str, clients: Any) -> None:
    arguments = {"app_label": "credits", "content_type_id": 1, "queue_index": 0, "url": "nothing"}
    for name, needed in addresses().items():
        if not of_staff(name) or name.endswith((":login", ":logout", ":jsi18n", UNNAMED)):
            continue
        address = reverse(name, kwargs={key: arguments.get(key, 1) for key in needed})
        for kind in PEOPLE[:-1]:
            answer = clients[kind].generic(method, address)
            assert answer.status_code in (302, 401, 403, 404), (name, kind, answer.status_code)
            assert answer.status_code != 302 or "/login/" in answer["Location"], (name, kind)
