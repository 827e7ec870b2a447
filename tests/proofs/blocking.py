"""The obvious design, to compare with: one job orders a picture, waits for it, and stores it."""

from __future__ import annotations

import time

from generation import jobs, results
from generation.kie.client import KieError

LOOK_EVERY = 2.0  # seconds


def make_picture(name: str) -> None:
    kie = jobs.kie()
    wish = {"prompt": f"Dune at dusk, {name}", "aspect_ratio": "16:9"}
    task_id = kie.create_task({"model": "z-image", "input": wish})
    while True:
        time.sleep(LOOK_EVERY)
        try:
            task = kie.record_info(task_id)
        except KieError:
            continue
        if task.outcome == "success":
            results.bring(task.urls[0], name, lambda: None)
            return
