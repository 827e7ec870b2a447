"""`make run`: the whole site starts, makes a picture, and ends without leaving anything behind."""

from __future__ import annotations

import contextlib
import io
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import requests
from PIL import Image
from playwright.sync_api import Page, expect

from imagegen.processes import SOON
from imagegen.run import BASE_DIR
from tests import servers
from tests.servers import Site


def processes_of(folder: Path) -> set[str]:
    """The command lines of what runs with its data in `folder`."""
    found = set()
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            command = (process / "cmdline").read_text().replace("\0", " ")
            # Valkey writes its title over its environment.
            if str(folder) in command or f"VAR_DIR={folder}\0" in (process / "environ").read_text():
                found.add(command)
    return found


def start(environment: dict[str, str], port: int) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "imagegen.run", "--port", str(port)],
        cwd=BASE_DIR,
        env=environment,
        capture_output=True,
        text=True,
        timeout=30,
    )


@pytest.fixture
def program(site: Site) -> requests.Session:
    """The demo user's, which orders by the API."""
    program = requests.Session()
    program.headers["Authorization"] = f"Bearer {site.token}"
    return program


def order(program: requests.Session, site: Site) -> Any:
    """A picture by the API: the last answer, with its address."""
    wish = {"prompt": "A beautiful landscape...", "projectId": "cmkivtwqv0005l80499cyfuzx"}
    answer = program.post(f"{site.url}/api/image", json=wish, timeout=10)
    deadline = time.monotonic() + 30
    while answer.status_code == 202:
        assert time.monotonic() < deadline, site.log.read_text()
        time.sleep(0.3)
        answer = program.get(answer.json()["statusUrl"], timeout=10)
    assert answer.status_code == 200, answer.text
    return answer.json()


def test_an_order_becomes_a_picture_and_the_log_tells_it(
    program: requests.Session, site: Site
) -> None:
    answer = order(program, site)
    assert (answer["cost"], answer["storage"]) == (0.03, "local")
    picture = Image.open(io.BytesIO(program.get(answer["imageUrl"], timeout=10).content))
    assert picture.width > picture.height >= 1024

    log = site.log.read_text()
    for line in (
        "[Image] Using provider: kie, model: seedream-3.0/2k, reference images: 0, "
        "skipCreditCheck: false, ownerId: none",
        "[KIE] Using model: Seedream 3.0 (2K) - 6 credits ($0.03)",
        "[KIE] Task created: ",
        " state: success",
    ):
        assert line in log


def test_slow_readers_of_pictures_leave_the_site_to_others(
    program: requests.Session, site: Site
) -> None:
    """The server has four threads; a phone on a train must not hold one of them."""
    address = urlsplit(order(program, site)["imageUrl"])
    pictures = (Path(site.environment["VAR_DIR"]) / "media").rglob("*-0.*g")
    with max(pictures, key=lambda path: path.stat().st_mtime).open("ab") as newest:
        newest.write(bytes(20_000_000))  # more than the system's buffers take
    ask = f"GET {address.path} HTTP/1.1\r\nHost: {address.netloc}\r\n"
    ask += f"Authorization: {program.headers['Authorization']}\r\n\r\n"
    with contextlib.ExitStack() as stack:
        for _reader in range(8):
            reader = stack.enter_context(socket.socket())
            reader.settimeout(5)
            reader.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            reader.connect((address.hostname, address.port))
            reader.sendall(ask.encode())
            assert reader.recv(15) == b"HTTP/1.1 200 OK"
        assert requests.get(f"{site.url}/healthz", timeout=5).status_code == 200


def test_manage_py_in_another_terminal_meets_the_same_site(site: Site) -> None:
    assert "SECRET_KEY" not in site.environment
    site.manage("grant_credits", "demo", "5", "--reason", "a test")
    site.manage("check_ledger")


def test_what_it_chose_is_for_this_user_only(site: Site) -> None:
    folder = Path(site.environment["VAR_DIR"])
    assert (folder / "run.env").stat().st_mode & 0o077 == 0
    assert (folder / "valkey" / "socket").stat().st_mode & 0o077 == 0


def test_a_second_start_says_where_the_first_one_is(site: Site) -> None:
    with servers.held_port() as port:
        second = start(site.environment, port)
    assert second.returncode == 1
    assert "already runs" in second.stderr
    assert f"{site.url}/" in second.stderr


def test_a_taken_port_is_said(site: Site, tmp_path: Path) -> None:
    port = int(site.url.rpartition(":")[2])
    second = start(site.environment | {"VAR_DIR": str(tmp_path)}, port)
    assert second.returncode == 1
    assert f"port {port}: Address already in use" in second.stderr
    assert f"make run PORT={port + 1}" in second.stderr
    assert processes_of(tmp_path) == set()


def test_a_worker_that_is_killed_is_started_again(site: Site) -> None:
    folder = Path(site.environment["VAR_DIR"])
    time.sleep(max(0, site.since + SOON - time.monotonic()))
    (pool,), workers = pool_and_workers("pictures", folder)
    assert len(workers) == 2
    os.kill(min(workers), signal.SIGKILL)
    until(lambda: two_other_workers("pictures", folder, workers), seconds=5)
    os.kill(pool, signal.SIGKILL)
    until(lambda: "pictures has ended and was started again." in site.log.read_text())
    until(lambda: requests.get(f"{site.url}/healthz", timeout=5).status_code == 200)


def until(true: Callable[[], bool], seconds: float = 20) -> None:
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.1)


def two_other_workers(queue: str, folder: Path, before: set[int]) -> bool:
    now = pool_and_workers(queue, folder)[1]
    return len(now) == 2 and now != before


def pool_and_workers(queue: str, folder: Path) -> tuple[set[int], set[int]]:
    """The process that keeps a queue's workers, and the workers: its forks."""
    parents = {}
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            command = (process / "cmdline").read_text()
            ours = f"VAR_DIR={folder}\0" in (process / "environ").read_text()
            if ours and f"rqworker-pool\0{queue}\0" in command:
                status = (process / "status").read_text()
                parents[int(process.name)] = int(status.partition("PPid:")[2].split()[0])
    workers = {pid for pid, parent in parents.items() if parent in parents}
    return parents.keys() - workers, workers


@pytest.mark.once
@pytest.mark.parametrize("ending", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_all_that_was_started_ends(ending: signal.Signals, tmp_path: Path) -> None:
    with (
        servers.held_port() as port,
        servers.program(tmp_path, servers.clean_environment(), "--port", str(port)) as program,
    ):
        started = processes_of(tmp_path)
        for part in (
            "valkey-server",
            "kie_sandbox",
            "granian",
            "manage.py tick",
            "rqworker-pool orders",
        ):
            assert any(part in command for command in started), started
        for _impatience in range(3):
            program.send_signal(ending)
        deadline = time.monotonic() + 10
        while left := processes_of(tmp_path):
            assert time.monotonic() < deadline, left
            time.sleep(0.05)
        assert program.wait() == (-signal.SIGKILL if ending == signal.SIGKILL else 0)


@pytest.mark.browser
def test_the_demo_user_sees_the_documents_project(page: Page) -> None:
    page.goto("/")
    page.locator("[name=login]").fill("demo")
    page.locator("[name=password]").fill("demo")
    page.get_by_role("button", name="Sign in").click()
    page.get_by_role("link", name="hladanie v psuti_nova").first.click()
    expect(page.get_by_role("heading", level=1)).to_contain_text("hladanie v psuti_nova")


def test_a_body_in_chunks_is_read(site: Site) -> None:
    """KIE's callbacks may come like that, and WSGI servers hand them over without a length."""
    answer = requests.post(
        f"{site.url}/api/image",
        data=iter([b'{"prompt": ', b'""}']),
        headers={"Authorization": f"Bearer {site.token}"},
        timeout=10,
    )
    assert (answer.status_code, answer.json()["error"]["code"]) == (422, "prompt_missing")
