"""The ledger storm at a small size, on the engine that these tests run on."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from django.db import connection

from imagegen.run import BASE_DIR
from tests.proofs.journal import Journal


@pytest.mark.django_db
def test_storm() -> None:
    engine = {"sqlite": "sqlite", "postgresql": "postgres"}[connection.vendor]
    command = [sys.executable, "-m", "tests.proofs.storm", "--engine", engine, "--seconds", "6"]
    storm = subprocess.run(command, cwd=BASE_DIR, capture_output=True, text=True)
    assert storm.returncode == 0, storm.stdout + storm.stderr
    killed = re.search(r"killed +(\d+)", storm.stdout)
    assert killed, storm.stdout
    assert int(killed[1]) >= 10


ASK: dict[str, Any] = {"ask": {"call": "hold"}, "again": False}


@pytest.mark.parametrize(
    ("lines", "is_open"),
    [
        ([ASK], True),
        ([ASK, {"lost": "the server closed the connection"}], True),
        ([ASK, {"answer": {"pk": 1}}], False),
        ([ASK, {"refused": "HoldResolved"}], False),
        ([ASK, {"answer": {"pk": 1}}, ASK], True),
        ([], False),
    ],
)
def test_what_a_killed_process_did_not_learn_is_asked_again(
    tmp_path: Path, lines: list[dict[str, Any]], is_open: bool
) -> None:
    journal = Journal(tmp_path / "0.journal")
    for line in lines:
        journal.write(**line)
    unanswered = Journal(journal.path).unanswered()
    assert (unanswered is not None) == is_open
    assert unanswered is None or unanswered["ask"] == ASK["ask"]
