"""What the tests run for real beside themselves: the whole site, and a database for it."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import psycopg
from django.db.backends.base.base import BaseDatabaseWrapper
from psycopg import sql

from imagegen.run import BASE_DIR

STARTED = "Ctrl-C ends everything."


@dataclass
class Site:
    """The site as `make run` starts it, with a database, a queue and a sandbox of its own."""

    url: str  # without a closing slash
    environment: dict[str, str]
    log: Path
    token: str  # the demo user's API token
    since: float = field(default_factory=time.monotonic)

    def manage(self, *arguments: str) -> str:
        """Runs a command of manage.py on this site; its output. CalledProcessError if it fails."""
        done = subprocess.run(
            [sys.executable, "manage.py", *arguments],
            cwd=BASE_DIR,
            env=self.environment,
            check=True,
            capture_output=True,
            text=True,
        )
        return done.stdout


@contextmanager
def running_site(folder: Path, environment: dict[str, str], *options: str) -> Iterator[Site]:
    """`make run` with its data in `folder`, until the end of the block."""
    environment = environment | {"VAR_DIR": str(folder)}
    with held_port() as port, program(folder, environment, "--port", str(port), *options):
        log = folder / "site.log"
        token = re.search(r"^API token +(\S+)", log.read_text(), re.MULTILINE)
        assert token, log.read_text()
        yield Site(f"http://127.0.0.1:{port}", environment, log, token[1])


@contextmanager
def program(
    folder: Path, environment: dict[str, str], *options: str
) -> Iterator[subprocess.Popen[bytes]]:
    """The program itself, once it has said that the site is there."""
    log = folder / "site.log"
    with log.open("wb") as output:
        running = subprocess.Popen(
            [sys.executable, "-m", "imagegen.run", *options],
            cwd=BASE_DIR,
            env=environment | {"VAR_DIR": str(folder)},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
        )
    try:
        wait_for(STARTED, log, running)
        yield running
    finally:
        running.send_signal(signal.SIGINT)
        running.wait(timeout=15)


def wait_for(text: str, log: Path, program: subprocess.Popen[bytes], seconds: float = 90) -> None:
    deadline = time.monotonic() + seconds
    while text not in log.read_text():
        assert program.poll() is None, f"The site has ended:\n{log.read_text()}"
        assert time.monotonic() < deadline, f"The site does not start:\n{log.read_text()}"
        time.sleep(0.1)


@contextmanager
def held_port() -> Iterator[int]:
    """A port that this machine gives to nobody else until the end of the block.

    A server with SO_REUSEADDR, which all of ours set, can listen there; until it does, connections
    are refused. A port that is merely free now may be somebody else's when the server has started.
    """
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        yield holder.getsockname()[1]


@contextmanager
def fresh_database(server_url: str, name: str) -> Iterator[str]:
    """An empty database beside the one that a PostgreSQL address names; its address."""
    database = sql.Identifier(name)
    with psycopg.connect(libpq(server_url), autocommit=True) as connection:
        connection.execute(sql.SQL("CREATE DATABASE {}").format(database))
        try:
            yield f"{server_url.rpartition('/')[0]}/{name}"
        finally:
            connection.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(database))


def address_of(connection: BaseDatabaseWrapper) -> str:
    """The DATABASE_URL of the tests' own database, for a process that is to meet their rows."""
    name = connection.settings_dict["NAME"]
    if connection.vendor == "sqlite":
        return f"sqlite:///{name}"
    return f"{os.environ['DATABASE_URL'].rpartition('/')[0]}/{name}"


def libpq(url: str) -> str:
    """A DATABASE_URL as libpq reads it: django-environ writes a socket's folder into the path."""
    found = re.fullmatch(r"(postgres(?:ql)?://[^/]*)/(/.*)/([^/]+)", url)
    if found is None:
        return url
    start, folder, name = found.groups()
    return f"{start}/{name}?host={folder}"


def clean_environment(names: Path = BASE_DIR / ".env.example") -> dict[str, str]:
    """This process's environment without any of the site's settings, and without a `.env`."""
    ours = re.findall(r"^#?([A-Z][A-Z0-9_]+)=", names.read_text(), re.MULTILINE)
    kept = {name: value for name, value in os.environ.items() if name not in ours}
    return {**kept, "ENV_FILE": os.devnull}
