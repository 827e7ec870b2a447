"""What every test stands on: settings of its own, a private Valkey, the cast, the running site."""

from __future__ import annotations

import io
import os
import shutil
import signal
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import pytest
from playwright.sync_api import Browser, Page, sync_playwright

from imagegen import memory
from imagegen.processes import Processes
from imagegen.run import start_valkey
from tests import servers
from tests.watched import watch

if TYPE_CHECKING:
    from django.contrib.auth.models import User
    from django.test import Client
    from pytest_django import DjangoDbBlocker, Settings
    from redis import Redis

    from projects.models import Project

FOLDER = Path(tempfile.mkdtemp(prefix="imagegen-tests-"))
PROCESSES = Processes()


def pytest_configure(config: pytest.Config) -> None:
    """The environment first, then the settings that read it, then what tests want otherwise.

    With `-n` (pytest-xdist) every worker comes by here, so each has a folder, a Valkey, a database
    and a site of its own; the process that only deals out the tests needs none.
    """
    if config.getoption("numprocesses", None):
        return
    # What a shell starts in the background ignores Ctrl-C, and so does all that starts from there.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    database = os.environ.get("DATABASE_URL", f"sqlite:///{FOLDER}/site.sqlite3")
    environment = servers.clean_environment()
    os.environ.clear()
    (FOLDER / "static").mkdir()
    os.environ |= environment | {
        "SECRET_KEY": "only-for-tests",
        "VAR_DIR": str(FOLDER),
        "DATABASE_URL": database,
        "REDIS_URL": start_valkey(PROCESSES, FOLDER / "valkey"),
        "DJANGO_SETTINGS_MODULE": "imagegen.settings",
    }
    from django.conf import settings

    settings.PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
    settings.STORAGES["staticfiles"]["BACKEND"] = (
        "django.contrib.staticfiles.storage.StaticFilesStorage"
    )
    if database.startswith("sqlite"):
        # A file, as the site has: one in memory locks differently under threads.
        settings.DATABASES["default"]["TEST"] = {"NAME": str(FOLDER / "test.sqlite3")}


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """On PostgreSQL run those whose outcome a database may change: the others have been run on
    SQLite."""
    from django.db import connection

    if connection.vendor == "postgresql":
        config.hook.pytest_deselected(items=[i for i in items if not depends_on_the_database(i)])
        items[:] = filter(depends_on_the_database, items)


def depends_on_the_database(item: pytest.Item) -> bool:
    """pytest-django refuses the database to a test without these; the site has one of its own."""
    wanted = item.get_closest_marker("everywhere") or not item.get_closest_marker("browser")
    if item.get_closest_marker("once") or not wanted:
        return False
    has_one = bool({"db", "site"} & set(getattr(item, "fixturenames", ())))
    return has_one or item.get_closest_marker("django_db") is not None


def pytest_collection_finish() -> None:
    memory.settle()


def pytest_unconfigure() -> None:
    PROCESSES.stop()
    shutil.rmtree(FOLDER, ignore_errors=True)


@pytest.fixture(autouse=True, scope="session")
def emptied_after_each_test() -> None:
    from tests import append_only

    append_only.install()


@pytest.fixture(autouse=True)
def pictures_in_a_folder_of_this_test(settings: Settings) -> None:
    settings.MEDIA_ROOT = FOLDER / "media" / uuid4().hex


@pytest.fixture(scope="session")
def connected() -> Redis:
    from generation import doorbell

    return doorbell.redis()


@pytest.fixture(autouse=True)
def valkey(connected: Redis) -> Redis:
    """The queue, empty."""
    connected.flushdb()  # flushall would also write an (empty) snapshot to the disk
    return connected


# The cast


@pytest.fixture
def alice(django_user_model: type[User]) -> User:
    """Owns the project."""
    return django_user_model.objects.create_user("alice", "alice@example.com", "alice")


@pytest.fixture
def bob(django_user_model: type[User]) -> User:
    """May edit the project."""
    return django_user_model.objects.create_user("bob", "bob@example.com", "bob")


@pytest.fixture
def charlie(django_user_model: type[User]) -> User:
    """Must be kept out."""
    return django_user_model.objects.create_user("charlie", "charlie@example.com", "charlie")


@pytest.fixture
def staff(django_user_model: type[User]) -> User:
    return django_user_model.objects.create_superuser("staff", "staff@example.com", "staff")


@pytest.fixture
def at_admin(staff: User) -> Client:
    """A superuser's browser."""
    from django.test import Client

    client = Client()
    client.force_login(staff)
    return client


@pytest.fixture
def helper(django_user_model: type[User]) -> Callable[..., Client]:
    """The browser of somebody of staff who may only do what is named."""
    from django.contrib.auth.models import Permission
    from django.test import Client

    def browser(*permissions: str) -> Client:
        user = django_user_model.objects.create_user("helper", is_staff=True)
        user.user_permissions.set(Permission.objects.filter(codename__in=permissions))
        assert user.user_permissions.count() == len(permissions)
        client = Client()
        client.force_login(user)
        return client

    return browser


@pytest.fixture
def project(alice: User, bob: User) -> Project:
    from projects.models import Member, Project, Role

    project = Project.objects.create(owner=alice, name="hladanie v psuti_nova")
    Member.objects.create(project=project, user=bob, role=Role.EDITOR)
    return project


@pytest.fixture(scope="session")
def catalogue_kept(django_db_setup: None, django_db_blocker: DjangoDbBlocker) -> list[str]:
    """What `load_kie_models` makes, in tables beside the models' own, whose names these are.

    Half of all tests want the catalogue. Loading it takes half a second and making its rows by the
    ORM 40 ms; the database copies them in 2.
    """
    from django.core.management import call_command
    from django.db import connection, transaction

    from generation.models import KieModel, Price

    tables = [kind._meta.db_table for kind in (KieModel, Price)]
    with django_db_blocker.unblock(), transaction.atomic(), connection.cursor() as cursor:
        call_command("load_kie_models", stdout=io.StringIO())
        for table in tables:
            cursor.execute(f"CREATE TABLE kept_{table} AS SELECT * FROM {table}")  # noqa: S608
        for table in reversed(tables):
            cursor.execute(f"DELETE FROM {table}")  # noqa: S608
    return tables


@pytest.fixture
def catalogue(db: None, catalogue_kept: list[str]) -> None:
    """The models that come with the program, loaded just now."""
    from django.db import connection
    from django.utils import timezone

    from generation.models import Price

    with connection.cursor() as cursor:
        for table in catalogue_kept:
            cursor.execute(f"INSERT INTO {table} SELECT * FROM kept_{table}")  # noqa: S608
    Price.objects.update(since=timezone.now())


# The running site and a browser before it. They know nothing of the test's own database.


@pytest.fixture(scope="session")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[servers.Site]:
    """The whole site with its workers, started once; the sandbox is quick, the demo is there."""
    folder = tmp_path_factory.mktemp("site")
    environment = servers.clean_environment()
    options = ("--sandbox-options", "--seconds 1")
    server = os.environ["DATABASE_URL"]
    if server.startswith("sqlite"):
        with servers.running_site(folder, environment, *options) as site:
            yield site
    else:
        with (
            servers.fresh_database(server, f"site_{os.getpid()}") as database,
            servers.running_site(
                folder, environment | {"DATABASE_URL": database}, *options
            ) as site,
        ):
            yield site


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    from django.db import connections

    # Playwright runs an event loop in this thread, which Django takes for asynchronous code.
    os.environ["DJANGO_ALLOW_ASYNC_UNSAFE"] = "true"
    # The first is the same browser without what draws windows: it takes less than half the time.
    names = ("chromium-headless-shell", "chromium", "chromium-browser")
    chromium = next(filter(None, map(shutil.which, names)), None)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=chromium,
            args=["--no-sandbox", "--disable-gpu", "--disable-background-networking"],
        )
        yield browser
        browser.close()
        # Because of that loop, the tests behind a browser's had database connections of their own,
        # which would stand in the way when the database is dropped.
        connections.close_all()


@pytest.fixture
def page(browser: Browser, site: servers.Site) -> Iterator[Page]:
    """A browser of its own for this test, at the running site; what breaks there breaks here."""
    context = browser.new_context(base_url=site.url, viewport={"width": 1280, "height": 800})
    wrong = watch(context)
    page = context.new_page()
    page.set_default_timeout(15_000)
    yield page
    context.close()
    assert wrong == []


@pytest.fixture(scope="session")
def cookies_of_demo(browser: Browser, site: servers.Site) -> Any:
    """The demo user has signed in, once: checking a password is made to take its time."""
    context = browser.new_context(base_url=site.url)
    page = context.new_page()
    page.goto("/account/login/")
    page.locator("#id_login").fill("demo")
    page.locator("#id_password").fill("demo")
    page.get_by_role("button", name="Sign in").click()
    page.wait_for_url("/")
    cookies = context.cookies()
    context.close()
    return cookies


@pytest.fixture
def demo(page: Page, cookies_of_demo: Any) -> Page:
    """`page`, where the demo user is signed in."""
    page.context.add_cookies(cookies_of_demo)
    return page
