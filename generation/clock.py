"""The clock of all orders. It does without what fetches and stores pictures: its process is soon
loaded, so one that takes the place of a dead one begins at once.
"""

from __future__ import annotations

from generation import account, doorbell, lifecycle


def tick() -> None:
    """Every second: what time decides, and a bell for every step that is due."""
    lifecycle.sweep()
    lifecycle.ring_due()
    account.ring_if_due()
    doorbell.ticked()
