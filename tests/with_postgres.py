"""python -m tests.with_postgres COMMAND ...: runs it with DATABASE_URL at a PostgreSQL of its own.

The server lives in a temporary folder, is reached by a socket there and by nothing else, and is
gone afterwards. PostgreSQL refuses to run as root: then it runs as `postgres`. For tests it does
not wait for the disk; a proof that stops it in the middle asks for a durable one.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

INIT = ("--username=imagegen", "--auth=trust", "--encoding=UTF8", "--locale=C.UTF-8", "--no-sync")
QUICK = "-c fsync=off -c synchronous_commit=off -c full_page_writes=off"


def main() -> int:
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    with (
        tempfile.TemporaryDirectory(prefix="imagegen-pg-") as folder,
        postgres(Path(folder)) as server,
    ):
        environment = os.environ | {"DATABASE_URL": server.url}
        return subprocess.run(sys.argv[1:], env=environment).returncode


@dataclass(frozen=True)
class Postgres:
    """A PostgreSQL with its files in `folder`, which it needs for itself.

    `durable`: an answered COMMIT outlives a crash (PostgreSQL's own defaults).
    """

    folder: Path
    durable: bool = False

    @property
    def url(self) -> str:
        """The DATABASE_URL of its first database, empty at the beginning; the same for ever."""
        return f"postgres://imagegen@/{self.folder}/postgres"

    def create(self) -> None:
        if os.getuid() == 0:
            shutil.chown(self.folder, "postgres", "postgres")
        self._run("initdb", *INIT, self._data)

    def start(self) -> None:
        """Returns when it takes connections; after a crash that is when it has recovered."""
        options = f"-c listen_addresses= -k {self.folder} {'' if self.durable else QUICK}"
        self._control("-o", options, "start")

    def crash(self) -> None:
        """Stops it at once, in the middle of everything: connections break, nothing is tidied."""
        self._control("-m", "immediate", "stop")

    def is_running(self) -> bool:
        return self._run("pg_ctl", "-D", self._data, "status", check=False) == 0

    @property
    def _data(self) -> Path:
        return self.folder / "data"

    def _control(self, *what: str) -> None:
        self._run("pg_ctl", "-D", self._data, "-l", self.folder / "log", "--wait", *what)

    def _run(self, name: str, *arguments: str | Path, check: bool = True) -> int:
        who: dict[str, Any] = {"cwd": self.folder}
        if os.getuid() == 0:
            who |= {"user": "postgres", "group": "postgres", "extra_groups": []}
        command = [program(name), *arguments]
        return subprocess.run(command, check=check, stdout=subprocess.DEVNULL, **who).returncode


@contextmanager
def postgres(folder: Path, *, durable: bool = False) -> Iterator[Postgres]:
    """A running PostgreSQL with its files in `folder`, until the end of the block."""
    server = Postgres(folder, durable)
    server.create()
    server.start()
    try:
        yield server
    finally:
        if server.is_running():
            server.crash()


def program(name: str) -> str:
    """PostgreSQL's server programs; Debian keeps them off the PATH, by version."""
    found = shutil.which(name) or max(
        map(str, Path("/usr/lib/postgresql").glob(f"*/bin/{name}")), default=None
    )
    if found is None:
        sys.exit(f"No {name} here. As root: apt-get install postgresql")
    return found


if __name__ == "__main__":
    sys.exit(main())
