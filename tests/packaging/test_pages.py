"""The pages of documentation lead to each other, and none is forgotten."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGES = sorted((ROOT / "docs").glob("*.md"))
TEXTS = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *PAGES]


@pytest.mark.parametrize("page", TEXTS, ids=lambda page: page.name)
def test_every_link_of_a_page_leads_to_a_file(page: Path) -> None:
    links = [link for link in re.findall(r"\]\(([^)#\s]+)", page.read_text()) if "://" not in link]
    assert [link for link in links if not (page.parent / link).exists()] == []


def test_the_readme_lists_every_page() -> None:
    listed = re.findall(r"\]\((docs/[^)#]+)\)", (ROOT / "README.md").read_text())
    assert {f"docs/{page.name}" for page in PAGES} - set(listed) == set()


def test_the_table_of_devices_names_every_shipped_profile() -> None:
    named = set(re.findall(r"`(\w+)`", (ROOT / "docs" / "devices.md").read_text()))
    assert {path.stem for path in (ROOT / "collectors" / "profiles").glob("*.yaml")} - named == set()
