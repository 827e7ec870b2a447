"""What goes wrong in a browser beside the page: for its console, and for the CSP."""

from __future__ import annotations

from playwright.sync_api import BrowserContext

# A report of the CSP is an event; the console is told only of some of them, and not what it was.
REPORTS = """addEventListener("securitypolicyviolation", (it) => console.error(
  `CSP: ${it.effectiveDirective} blocked ${it.blockedURI} (${it.sourceFile}:${it.lineNumber})`
));"""


def watch(context: BrowserContext) -> list[str]:
    """A list that grows by whatever goes wrong on the pages of `context` from now on: errors of
    scripts, what the CSP blocks, and requests that fail or that the server refuses."""
    wrong: list[str] = []

    def note(where: str, what: str) -> None:
        wrong.append(f"{where}: {what}")

    context.add_init_script(REPORTS)
    context.on("weberror", lambda it: note(it.page.url if it.page else "", str(it.error)))
    context.on(
        "console",
        lambda it: note(it.page.url if it.page else "", it.text) if it.type == "error" else None,
    )
    return wrong
