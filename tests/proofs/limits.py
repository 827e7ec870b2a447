"""python -m tests.proofs.limits: how many orders leave in ten seconds, also after a FLUSHALL.

More orders wait in line than may leave; four workers send them. KIE's side of it counts: no window
of ten seconds, wherever it begins, may hold more than KIE takes, and what the site allows itself
has to be used.
"""

from __future__ import annotations

import argparse
import bisect
import sys
import time

from tests.proofs.stand import Options, Stand
from tests.proofs.verdict import read_journal

WINDOW = 10.0  # seconds
KIES_LIMIT = 20  # creates in a window
OURS = 18
USED_AT_LEAST = 0.9  # of ours
WORKERS = 4


def main() -> int:
    options = arguments()
    never = 100_000.0  # seconds: no picture is wanted here
    workers = {"ORDER_WORKERS": str(WORKERS), "LOG_LEVEL": "WARNING"}
    with Stand(Options(creates=OURS, seconds=never, environment=workers)) as stand:
        from tests.proofs import film

        windows = max(2, round(options.seconds / WINDOW))
        film.order(OURS * (windows + 2))
        began = time.time()
        flush_at = began + windows * WINDOW / 2
        time.sleep(max(0, flush_at - time.time()))
        stand.flush_redis()
        time.sleep(max(0, began + (windows + 0.5) * WINDOW - time.time()))
        journal = read_journal(stand.journal)
    answers = [row for row in journal if row["what"] == "create"]
    sent = sorted(row["at"] for row in answers if row["code"] == 200)
    refused = len(answers) - len(sent)
    most = most_in_a_window(sent)
    after = [at for at in sent if at >= flush_at - WINDOW]
    used = sum(at < sent[0] + windows * WINDOW for at in sent) / (OURS * windows)
    print(
        f"limits: {len(sent)} creates of {WORKERS} workers in {windows} windows of {WINDOW:g} s\n"
        f"  most in any window {most} (after the FLUSHALL {most_in_a_window(after)}),"
        f" KIE takes {KIES_LIMIT}; refused by KIE {refused}\n"
        f"  used {used:.0%} of {OURS} in a window"
    )
    wrong = [
        words
        for is_wrong, words in (
            (most > KIES_LIMIT, f"{most} creates in ten seconds"),
            (refused > 0, f"KIE refused {refused}"),
            (used < USED_AT_LEAST and not options.busy, f"only {used:.0%} used"),
        )
        if is_wrong
    ]
    for words in wrong:
        print(f"WRONG {words}")
    return 1 if wrong else 0


def most_in_a_window(times: list[float]) -> int:
    """The largest number of them in any WINDOW seconds; `times` are sorted."""
    return max(
        (bisect.bisect_left(times, at + WINDOW) - n for n, at in enumerate(times)), default=0
    )


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.proofs.limits", description=__doc__)
    parser.add_argument("--seconds", type=float, default=60, metavar="S")
    parser.add_argument(
        "--busy", action="store_true", help="others use this machine: what is used is only printed"
    )
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
