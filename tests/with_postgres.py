"""python -m tests.with_postgres COMMAND ...: runs it with DATABASE_URL at a PostgreSQL of its own.

The server lives in a temporary folder, is reached by a socket there and by nothing else, does not
sync to disk, and is gone afterwards. PostgreSQL refuses to run as root: then it runs as `postgres`.
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
from pathlib import Path
from typing import Any

INIT = ("--username=imagegen", "--auth=trust", "--encoding=UTF8", "--locale=C.UTF-8", "--no-sync")
SERVER = "-c listen_addresses= -c fsync=off -c synchronous_commit=off -c full_page_writes=off"


def main() -> int:
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    with (
        tempfile.TemporaryDirectory(prefix="imagegen-pg-") as folder,
        postgres(Path(folder)) as url,
    ):
        return subprocess.run(sys.argv[1:], env=os.environ | {"DATABASE_URL": url}).returncode


@contextmanager
def postgres(folder: Path) -> Iterator[str]:
    """A running PostgreSQL with its files in `folder`; the DATABASE_URL of an empty database."""
    who: dict[str, Any] = {"cwd": folder, "check": True, "stdout": subprocess.DEVNULL}
    if os.getuid() == 0:
        shutil.chown(folder, "postgres", "postgres")
        who |= {"user": "postgres", "group": "postgres", "extra_groups": []}
    data = folder / "data"
    subprocess.run([program("initdb"), *INIT, data], **who)
    control = [program("pg_ctl"), "-D", data, "-l", folder / "log", "--wait"]
    subprocess.run([*control, "-o", f"{SERVER} -k {folder}", "start"], **who)
    try:
        yield f"postgres://imagegen@/{folder}/postgres"
    finally:
        subprocess.run([*control, "-m", "immediate", "stop"], **who)


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
