"""The judge of the simulation's table: what no story came by cannot be left out of it."""

from __future__ import annotations

import pytest

from credits import ledger
from generation import lifecycle
from tests.proofs.simulate import holes_in
from tests.proofs.simulation.aims import AIMS, Aim, aim_of, seeds_for
from tests.proofs.simulation.effects import lasting, writers
from tests.proofs.simulation.faults import ANSWERS
from tests.proofs.simulation.table import Table
from tests.proofs.simulation.world import Place


@pytest.fixture
def full() -> Table:
    table = Table(passed={Place("store", effect) for effect in lasting()})
    for place in table.passed:
        for asked, classes in ANSWERS.items():
            table.cells.update((place, asked, name) for name in classes)
    return table


def test_whoever_writes_is_found_in_the_code() -> None:
    found = writers(lifecycle)
    assert {"lifecycle.claim", "lifecycle.done", "lifecycle.unclear"} <= found
    assert "lifecycle.tasks_due" not in found, "it only reads"
    assert writers(ledger) == {"ledger.ledger_of"} | {
        f"ledger.{name}" for name in ("grant", "adjust", "hold", "capture", "release")
    }


def test_a_full_table_has_no_holes(full: Table) -> None:
    assert list(holes_in(full)) == []


def test_a_writer_that_no_step_came_by_is_a_hole(full: Table) -> None:
    full.passed.remove(Place("store", "lifecycle.done"))
    assert list(holes_in(full)) == ["no step came by: lifecycle.done"]


def test_an_answer_that_no_death_met_is_a_hole(full: Table) -> None:
    del full.cells[Place("store", "fetch"), "task", "one picture"]
    assert list(holes_in(full)) == ["never reached: store: after fetch × task: one picture"]


def test_every_cell_that_can_be_is_aimed_at() -> None:
    assert {aim_of(seed) for seed in range(len(AIMS))} == set(AIMS)


def test_the_last_stories_are_about_what_is_missing() -> None:
    missing = AIMS[3], AIMS[1000], Aim(Place("nowhere", "nothing"), "link", "gone")
    seeds = seeds_for(missing, 9_500)
    assert [aim_of(seed) for seed in seeds] == [AIMS[3], AIMS[1000]]
    assert all(9_500 <= seed < 9_500 + len(AIMS) for seed in seeds)
