"""/healthz: what is wrong, in one word each, for everybody and without secrets."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import pytest
import requests
from django.core.cache import cache
from django.test import Client
from redis import Redis

from generation import doorbell
from tests.servers import Site

PARTS = ["database", "queue", "storage", "provider"]


@pytest.fixture(autouse=True)
def nothing_known(db: None) -> Iterator[None]:
    cache.clear()
    yield


def health(client: Client) -> tuple[int, dict[str, str]]:
    response = client.get("/healthz")
    return response.status_code, response.json()


@pytest.mark.browser
def test_the_running_site_is_well(site: Site) -> None:
    deadline = time.monotonic() + 20  # the site answers before its workers have all begun
    while (response := requests.get(f"{site.url}/healthz", timeout=30)).status_code != 200:
        assert time.monotonic() < deadline, response.text
        time.sleep(0.2)
    assert response.json() == dict.fromkeys(PARTS, "ok")
    assert "no-store" in response.headers["Cache-Control"]


@pytest.mark.django_db
def test_a_site_without_workers_says_so(client: Client) -> None:
    status, parts = health(client)
    assert status == 503
    assert parts["database"] == "ok"
    assert parts["queue"] == "missing"


@pytest.mark.django_db
def test_without_the_queue_it_says_so(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doorbell, "redis", lambda: Redis(port=9))
    status, parts = health(client)
    assert status == 503
    assert (parts["database"], parts["queue"], parts["storage"]) == ("ok", "queue_down", "ok")


@pytest.mark.django_db
def test_a_silent_provider_is_named(client: Client, settings: Any) -> None:
    settings.KIE_API_URL = "http://127.0.0.1:9"
    assert health(client)[1]["provider"] == "silent"


@pytest.mark.django_db
def test_a_storage_that_takes_nothing_is_named(
    client: Client, settings: Any, tmp_path: Any
) -> None:
    (tmp_path / "file").touch()
    settings.MEDIA_ROOT = tmp_path / "file"
    assert health(client)[1]["storage"] == "broken"


@pytest.mark.django_db
def test_only_looking_is_allowed(client: Client) -> None:
    assert client.post("/healthz").status_code == 405
