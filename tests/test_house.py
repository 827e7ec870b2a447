"""The rules of the house, as far as a search can see them."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from django.conf import settings
from honcho.environ import parse_procfile

BASE = Path(settings.BASE_DIR)
PACKAGES = ("imagegen", "projects", "credits", "generation")
NAMED_FOR_NOTHING = {"utils", "helpers", "common", "services", "managers", "signals"}


def sources() -> dict[str, str]:
    """Our Python files by their path from the top; migrations are Django's."""
    return {
        str(path.relative_to(BASE)): path.read_text()
        for package in PACKAGES
        for path in (BASE / package).rglob("*.py")
        if "migrations" not in path.parts
    }


def places(pattern: str, among: Callable[[str], bool] = lambda path: True) -> set[str]:
    """The files in which `pattern` is found."""
    return {path for path, text in sources().items() if among(path) and re.search(pattern, text)}


def test_imports_run_one_way() -> None:
    """In a process of its own: it silences every logger that it does not know."""
    words = "from importlinter.cli import lint_imports; raise SystemExit(lint_imports())"
    done = subprocess.run([sys.executable, "-c", words], cwd=BASE, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout


def test_a_module_is_named_for_what_it_knows() -> None:
    assert not {
        path for path in sources() if NAMED_FOR_NOTHING & set(Path(path).with_suffix("").parts)
    }


def test_only_the_ledger_writes_credits() -> None:
    rows = (
        r"(?<!class )LedgerEntry\(|LedgerEntry\.objects\.\w*create|CreditLedger\.objects\.\w*create"
    )
    amounts = r"\.update\([^)]*\b(balance|held)=|\.(balance|held) [-+]?= "
    assert places(f"{rows}|{amounts}") == {"credits/ledger.py"}


def test_only_the_lifecycle_writes_a_state() -> None:
    assert places(r"\.update\([^)]*\bstate=|\.state = ") == {"generation/lifecycle.py"}


def is_view(path: str) -> bool:
    return path.startswith("generation/views/") or path in {
        "generation/api.py",
        "projects/views.py",
        "projects/arrange.py",
        "projects/files.py",
        "projects/invitations.py",
    }


def test_only_access_fetches_a_project_for_a_request() -> None:
    """A list of what the person may see is `visible_to`; one thing by its id is access.py's."""
    fetched = r"\b(Project|Scene|Character|Take)\.objects\.(?!visible_to)|get_object_or_404"
    assert places(fetched, is_view) == set()
    assert places(r"\baccess\.", is_view)


def test_only_pictures_decodes_what_comes_from_outside() -> None:
    """Through decoders.py, whose processes do it. What the sandbox opens, it has drawn itself."""
    program = places(r"\bPIL\b", lambda path: not path.startswith("generation/kie/sandbox/"))
    assert program == {"projects/decoder.py"}
    assert places(
        r'"decoder\.py"|import decoder\b', lambda path: path != "projects/decoder.py"
    ) == {"projects/decoders.py"}
    assert places(r"import decoders\b") == {"projects/pictures.py"}


def test_every_setting_from_the_environment_is_explained() -> None:
    text = (BASE / "imagegen" / "settings.py").read_text()
    read = set(re.findall(r'(?:env\.\w+|base_url)\(\s*"([A-Z0-9_]+)"', text)) - {"ENV_FILE"}
    explained = set(
        re.findall(r"^#([A-Z0-9_]+)=", (BASE / ".env.example").read_text(), re.MULTILINE)
    )
    assert read == explained


def test_every_queue_has_a_worker_of_its_own() -> None:
    processes = parse_procfile((BASE / "Procfile").read_text()).processes
    worked = [line.split()[3] for line in processes.values() if " rqworker-pool " in line]
    assert sorted(worked) == sorted(settings.RQ_QUEUES)


@pytest.mark.parametrize("process", ["web", "tick", "orders", "pictures"])
def test_compose_starts_every_process_of_the_procfile(process: str) -> None:
    assert process in parse_procfile((BASE / "Procfile").read_text()).processes
    assert (
        f"command: [honcho, start, --no-prefix, {process}]" in (BASE / "compose.yaml").read_text()
    )
