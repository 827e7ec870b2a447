"""The journal of a process of the ledger storm; `make prove` runs the storm itself, small."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.proofs.journal import Journal

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
