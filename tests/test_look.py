"""What every template must keep: parts that are there, and nothing that the CSP refuses."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from django.conf import settings
from django.template.loader import get_template, render_to_string
from django.test import Client

TEMPLATES = sorted((settings.BASE_DIR / "templates").rglob("*.html"))
# The admin looks like Django's, with tokens of its own.
OURS = [path for path in TEMPLATES if not {"admin", "django_rq"} & set(path.parts)]
STYLESHEETS = sorted((settings.BASE_DIR / "static" / "css").glob("*.css"))
SPRITE = (settings.BASE_DIR / "static" / "icons.svg").read_text()
ICONS = set(re.findall(r'<symbol id="([\w-]+)"', SPRITE))


def name_of(path: Path) -> str:
    return str(path.relative_to(settings.BASE_DIR / "templates"))


@pytest.mark.parametrize("path", TEMPLATES, ids=name_of)
def test_template_compiles(path: Path) -> None:
    get_template(name_of(path))


@pytest.mark.parametrize("path", OURS, ids=name_of)
def test_template_has_no_inline_style_or_script(path: Path) -> None:
    text = path.read_text()
    assert not re.search(r"<style|\sstyle=|\son[a-z]+=\"|hx-on|javascript:", text)
    assert all("src=" in tag for tag in re.findall(r"<script[^>]*>", text))


def test_the_sprite_has_the_icons_that_are_used_and_no_other() -> None:
    used = {
        icon
        for path in TEMPLATES
        for tag in re.findall(r"{% icon ([^%]*)%}", path.read_text())
        for icon in re.findall(r"\"([\w-]+)\"", tag)
    }
    assert used == ICONS


@pytest.mark.parametrize("path", STYLESHEETS, ids=lambda path: path.name)
def test_stylesheet_keeps_to_the_tokens(path: Path) -> None:
    """No colour outside tokens.css, and no token that is not there."""
    text = re.sub(r"/\*.*?\*/|url\([^)]*\)", "", path.read_text(), flags=re.DOTALL)
    if path.name not in ("tokens.css", "admin.css"):
        assert not re.findall(r"#[0-9a-fA-F]{3,8}\b|rgba?\(", text)
    defined = set(re.findall(r"(--[\w-]+):", "".join(sheet.read_text() for sheet in STYLESHEETS)))
    assert set(re.findall(r"var\((--[\w-]+)\)", text)) <= defined


@pytest.mark.parametrize("path", STYLESHEETS, ids=lambda path: path.name)
def test_stylesheet_links_are_files(path: Path) -> None:
    for link in re.findall(r"url\([\"']?([^)\"']+)", path.read_text()):
        assert (path.parent / link).resolve().is_file()


@pytest.mark.parametrize("code", ["400", "500"])
def test_error_page_stands_alone(code: str) -> None:
    """Django renders these two without request and context processors."""
    assert "To my projects" in render_to_string(f"{code}.html")


@pytest.mark.django_db
def test_not_found_is_ours(client: Client) -> None:
    answer = client.get("/no/such/page")
    assert answer.status_code == 404
    assert b"not in the script" in answer.content


@pytest.mark.django_db
def test_stale_form_is_ours() -> None:
    answer = Client(enforce_csrf_checks=True).post("/theme/", {"theme": "dark"})
    assert answer.status_code == 403
    assert b"gone stale" in answer.content
