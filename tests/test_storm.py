"""The ledger storm at a small size, on the engine that these tests run on."""

from __future__ import annotations

import re
import subprocess
import sys

import pytest
from django.db import connection

from imagegen.run import BASE_DIR


@pytest.mark.django_db
def test_storm() -> None:
    engine = {"sqlite": "sqlite", "postgresql": "postgres"}[connection.vendor]
    command = [sys.executable, "-m", "tests.proofs.storm", "--engine", engine, "--seconds", "6"]
    storm = subprocess.run(command, cwd=BASE_DIR, capture_output=True, text=True)
    assert storm.returncode == 0, storm.stdout + storm.stderr
    killed = re.search(r"killed +(\d+)", storm.stdout)
    assert killed, storm.stdout
    assert int(killed[1]) >= 10
