"""The whole site as in production, on this machine, with everything that it leans on, to be broken.

Valkey, a PostgreSQL that keeps what it has answered, an S3 server, the sandbox, and the processes
of the Procfile, each a process of its own, in a temporary folder. The site is told of them by the
environment alone. Whoever dies is started again at once.

    with Stand(Options(seed=1)) as stand:
        token = stand.token("alice", credits=100)
        stand.kill_a_worker(rng)
"""

from __future__ import annotations

import contextlib
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import psycopg
import requests
from botocore.exceptions import ClientError
from honcho.environ import parse_procfile
from redis import Redis

from imagegen import run
from imagegen.processes import Processes, send
from imagegen.run import BASE_DIR
from tests import servers
from tests.proofs import bucket
from tests.with_postgres import Postgres, postgres

BUCKET = "film-pictures"
BETWEEN_STARTS = 0.2  # seconds; what cannot start must not take the whole machine
WORKERS = ("tick", "orders", "pictures")  # of the Procfile's processes, those that may be killed
TICKS = os.sysconf("SC_CLK_TCK")  # of /proc's clocks, in a second


@dataclass(frozen=True)
class Options:
    """`creates`: how many the site may send in 10 s; the sandbox takes a ninth more, as KIE does.

    `sandbox` are further options of `manage.py kie_sandbox`, `environment` of the site.
    """

    seed: int = 0
    creates: int = 18
    seconds: float = 1.0  # that the sandbox takes for a picture
    callbacks: bool = True
    storage_faults: float = 0.0  # probability for each file
    sandbox: tuple[str, ...] = ()
    environment: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Worker:
    """A process that does jobs. `name` is its line of the Procfile."""

    pid: int
    name: str


@dataclass(frozen=True)
class Process:
    """One line of /proc. `session` is the pid of the head of its family; times in seconds."""

    pid: int
    parent: int
    session: int
    cpu: float  # its own, and that of its children who have ended


class Stand:
    def __init__(self, options: Options | None = None) -> None:
        self.options = options or Options()
        self.folder = Path(tempfile.mkdtemp(prefix="stand-"))
        self.journal = self.folder / "sandbox.jsonl"  # all that happened at the sandbox
        self.restarts: Counter[str] = Counter()
        self._ends = ExitStack()
        self._processes = Processes()
        self._commands: dict[str, str] = {}
        self._resting: set[str] = set()  # those that were stopped on purpose
        self._replaced: dict[str, str] = {}
        self._cpu: dict[tuple[str, int], float] = {}
        self._ports = {
            name: self._ends.enter_context(servers.held_port())
            for name in ("bucket", "sandbox", "web")
        }

    # Beginning and end

    def __enter__(self) -> Stand:
        try:
            self._start()
        except BaseException:
            self._end()
            raise
        return self

    def __exit__(self, *exception: object) -> None:
        self._end()

    def _start(self) -> None:
        (self.folder / "postgres").mkdir()
        self.folder.chmod(0o755)  # PostgreSQL runs as another user where we are root
        self.postgres: Postgres = self._ends.enter_context(
            postgres(self.folder / "postgres", durable=True)
        )
        self._ends.callback(self._stop_processes)
        self._redis_url = run.start_valkey(self._processes, self.folder / "valkey")
        self._watch()
        self.environment = self._environment()
        os.environ.clear()
        os.environ |= self.environment
        run.prepare()
        self._launch("bucket", self._bucket())
        self._launch("sandbox", self._sandbox())
        lines = parse_procfile((BASE_DIR / "Procfile").read_text()).processes
        for name, line in (lines | self._replaced).items():
            self._launch(name, line)
        self._wait_for("bucket", "/proof/faults")
        self._wait_for("sandbox", "/sandbox")
        self._wait_for("web", "/healthz")

    def _environment(self) -> dict[str, str]:
        (self.folder / "var").mkdir()
        return servers.clean_environment() | {
            "SECRET_KEY": "only-for-proofs",
            "VAR_DIR": str(self.folder / "var"),
            "HOST": "127.0.0.1",
            "PORT": str(self._ports["web"]),
            "PUBLIC_URL": self.site_url if self.options.callbacks else "",
            "DATABASE_URL": self.postgres.url,
            "REDIS_URL": self._redis_url,
            "KIE_SANDBOX_URL": f"http://127.0.0.1:{self._ports['sandbox']}",
            "KIE_CREATES": str(self.options.creates),
            "AWS_STORAGE_BUCKET_NAME": BUCKET,
            "AWS_S3_ENDPOINT_URL": self.bucket_url,
            "AWS_ACCESS_KEY_ID": "key",
            "AWS_SECRET_ACCESS_KEY": "secret",
            "DJANGO_SETTINGS_MODULE": "imagegen.settings",
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
            "PYTHONUNBUFFERED": "1",
            **self.options.environment,
        }

    def _bucket(self) -> str:
        return (
            f"python -m tests.proofs.bucket {BUCKET} --port {self._ports['bucket']}"
            f" --faults {self.options.storage_faults} --seed {self.options.seed}"
        )

    def _sandbox(self) -> str:
        options = {
            "port": self._ports["sandbox"],
            "state": self.folder / "sandbox.sqlite3",
            "journal": self.journal,
            "credits": 1_000_000,
            "seconds": self.options.seconds,
            "rate": -(-self.options.creates * 10 // 9),
            "seed": self.options.seed,
        }
        words = [f"--{name} {value}" for name, value in options.items()]
        return " ".join(["python manage.py kie_sandbox", *words, *self.options.sandbox])

    def _launch(self, name: str, line: str) -> None:
        self._commands[name] = f"exec {line} >>{self.log(name)} 2>&1"
        self._processes.start(name, ["sh", "-c", self._commands[name]], BASE_DIR)

    def _watch(self) -> None:
        threading.Thread(target=self._restart, daemon=True).start()

    def _restart(self) -> None:
        """Starts again whatever ends, for ever; an end by itself has to show in the report."""
        while True:
            name = self._processes.ended.get()
            if name in self._resting:
                continue
            send(self._processes.children[name], signal.SIGKILL)  # what its family left behind
            self.restarts[name] += 1
            time.sleep(BETWEEN_STARTS)
            if name not in self._resting:
                self._processes.start(name, ["sh", "-c", self._commands[name]], BASE_DIR)

    def _stop_processes(self) -> None:
        self._resting |= self._processes.children.keys()
        self._processes.stop(self._processes.children.keys() - {"valkey"})
        self._processes.stop()

    def _end(self) -> None:
        self._ends.close()
        if os.environ.get("KEEP_STAND"):
            print(f"The stand's files are in {self.folder}")
        else:
            shutil.rmtree(self.folder, ignore_errors=True)

    def _wait_for(self, name: str, path: str, seconds: float = 60) -> None:
        url = f"http://127.0.0.1:{self._ports[name]}{path}"
        deadline = time.monotonic() + seconds
        while True:
            try:
                status = requests.get(url, timeout=5).status_code
                if status == 200:
                    return
                answer = f"HTTP {status}"
            except requests.RequestException as error:
                answer = str(error)
            if time.monotonic() > deadline:
                said = self.log(name).read_text()
                sys.exit(
                    f"The stand's {name} does not start: {url}: {answer}\n"
                    f"Started again {self.restarts[name]} times. It said:\n{said[-4000:]}"
                )
            time.sleep(0.1)

    # The site

    @property
    def site_url(self) -> str:
        return f"http://127.0.0.1:{self._ports['web']}"

    def log(self, name: str) -> Path:
        """What a process has said: "web", "tick", "orders", "pictures", "sandbox", "bucket"."""
        return self.folder / f"{name}.log"

    def token(self, name: str, credits: float) -> str:
        """Makes a user with so many (whole) credits; the secret of an API token of theirs."""
        from django.contrib.auth.models import User

        from credits import ledger
        from projects import access

        user = User.objects.create(username=name)
        account = ledger.ledger_of(user)
        if credits:
            about = ledger.About(type="grant", description="For a proof")
            hundredths = round(credits * 100)
            ledger.grant(account, hundredths, reference=f"proof:{name}", about=about)
        return access.issue_token(user, "proof")

    def manage(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Runs a command of manage.py on this site, to its end, whatever that is."""
        command = [sys.executable, "manage.py", *arguments]
        return subprocess.run(
            command, cwd=BASE_DIR, env=self.environment, capture_output=True, text=True
        )

    def sandbox(self, what: str, wish: Any = None) -> Any:
        """`/sandbox/<what>`: asked, or told a wish. Of all, without `what`."""
        url = f"{self.environment['KIE_SANDBOX_URL']}/sandbox/{what}".rstrip("/")
        answer = (
            requests.post(url, json=wish, timeout=60) if wish else requests.get(url, timeout=60)
        )
        answer.raise_for_status()
        return answer.json()

    # Storage

    @cached_property
    def _s3(self) -> Any:
        return bucket.client(self.bucket_url)

    @property
    def bucket_url(self) -> str:
        return f"http://127.0.0.1:{self._ports['bucket']}"

    def stored(self, name: str) -> bytes | None:
        """A file as the S3 server has it; None if it has not."""
        try:
            found: bytes = self._s3.get_object(Bucket=BUCKET, Key=name)["Body"].read()
        except ClientError as error:
            if error.response["Error"]["Code"] != "NoSuchKey":
                raise
            return None
        return found

    def storage_faults(self, probability: float | None = None) -> dict[str, int]:
        """Changes how often the storage fails; how often what has happened."""
        url = f"{self.bucket_url}/proof/faults"
        if probability is None:
            found: dict[str, int] = requests.get(url, timeout=10).json()
        else:
            found = requests.post(url, json={"probability": probability}, timeout=10).json()
        return found

    # Workers

    def workers(self) -> list[Worker]:
        """Those that do the jobs: of a pool its members, not its head."""
        everybody = list(processes())
        found = []
        for name in WORKERS:
            head = self._processes.children[name].pid
            words = _command(head)
            alike = [p for p in everybody if p.session == head and _command(p.pid) == words]
            parents = {p.parent for p in alike}
            pool = "rqworker-pool" in words
            found += [
                Worker(p.pid, name)
                for p in alike
                if p.pid not in parents and not (pool and p.pid == head)
            ]
        return found

    def kill_a_worker(self, rng: random.Random) -> Worker | None:
        """SIGKILL to any of them; None if none is there, or it has just ended."""
        there = self.workers()
        if not there:
            return None
        worker = rng.choice(there)
        return worker if self.kill(worker) else None

    def kill(self, worker: Worker) -> bool:
        """SIGKILL; False if it has just ended."""
        try:
            os.kill(worker.pid, signal.SIGKILL)
        except ProcessLookupError:
            return False
        return True

    # Any of its processes, by the name of its line in the Procfile

    def replace(self, name: str, line: str) -> None:
        """Another command is started in its place; to be said before the stand is entered."""
        self._replaced[name] = line

    def rest(self, name: str) -> None:
        """It ends and stays away."""
        self._resting.add(name)
        self._processes.stop({name})

    def family(self, name: str) -> set[int]:
        """The pids of it and of those that it started."""
        head = self._processes.children[name].pid
        return {process.pid for process in processes() if process.session == head}

    # The queue

    def flush_redis(self) -> None:
        with Redis.from_url(self._redis_url) as client:
            client.flushall()

    def stop_redis(self) -> None:
        self.rest("valkey")

    def start_redis(self) -> None:
        run.start_valkey(self._processes, self.folder / "valkey")
        self._resting.discard("valkey")

    # The database

    def database(self) -> psycopg.Connection[tuple[Any, ...]]:
        return psycopg.connect(servers.libpq(self.postgres.url), autocommit=True)

    def crash_postgres(self) -> None:
        self.postgres.crash()

    def start_postgres(self) -> None:
        self.postgres.start()

    # What it costs

    def cpu(self) -> dict[str, float]:
        """CPU seconds of each process with its family, so far.

        To be asked often: what a process used that has been replaced is known as of the last time.
        """
        everybody = list(processes())
        heads = {child.pid: name for name, child in self._processes.children.items()}
        heads |= {pid: "postgres" for pid in self._postmaster()}
        used: dict[tuple[str, int], float] = defaultdict(float)
        for p in everybody:
            head = p.pid if p.pid in heads else p.session if p.session in heads else p.parent
            if head in heads:
                used[heads[head], head] += p.cpu
        self._cpu |= {key: max(cpu, self._cpu.get(key, 0)) for key, cpu in used.items()}
        total: dict[str, float] = defaultdict(float)
        for (name, _), cpu in self._cpu.items():
            total[name] += cpu
        own = os.times()
        return {**total, "this proof": own.user + own.system}

    def _postmaster(self) -> list[int]:
        with contextlib.suppress(OSError, ValueError, IndexError):
            lines = (self.postgres.folder / "data" / "postmaster.pid").read_text().splitlines()
            return [int(lines[0])]
        return []


def processes() -> Iterator[Process]:
    """All that run on this machine now."""
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError):
                yield _process(int(entry.name), (entry / "stat").read_text())


def _process(pid: int, stat: str) -> Process:
    # The second field, the name, may hold anything; what follows its last ) is regular.
    fields = stat.rpartition(")")[2].split()
    ticks = sum(map(int, fields[11:15]))
    return Process(pid, int(fields[1]), int(fields[3]), ticks / TICKS)


def _command(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode()
    except OSError:
        return ""
