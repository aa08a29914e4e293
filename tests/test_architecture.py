"""Rules of the layout that import-linter cannot see."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
PACKAGES = ("src/emsd", "collectors", "simulator")
SQL_ROOM = ROOT / "src" / "emsd" / "store"
SQL = re.compile(
    r"\b(SELECT\s+[\w*(]+.*\bFROM\b|INSERT INTO\b|UPDATE \w+ SET\b|DELETE FROM\b|CREATE (TABLE|ROLE|DATABASE)\b)",
    re.DOTALL,
)
STRING = re.compile(r'"""(?:.|\n)*?"""|"[^"\n]*"')


def modules() -> list[Path]:
    return [path for package in PACKAGES for path in sorted((ROOT / package).rglob("*.py"))]


def test_sql_stands_only_in_the_store() -> None:
    found = [
        f"{path.relative_to(ROOT)}: {string[:60]}"
        for path in modules()
        if SQL_ROOM not in path.parents
        for string in STRING.findall(path.read_text(encoding="utf-8"))
        if SQL.search(string)
    ]
    assert not found
    assert any(SQL.search(path.read_text(encoding="utf-8")) for path in SQL_ROOM.glob("*.py")), "the pattern finds SQL"


def test_every_sql_file_is_a_migration_or_in_the_store() -> None:
    stray = [path for path in ROOT.glob("src/**/*.sql") if SQL_ROOM not in path.parents]
    assert not stray


def test_every_import_package_says_that_it_is_typed() -> None:
    assert all((ROOT / package / "py.typed").is_file() for package in PACKAGES)


def test_every_public_module_explains_itself() -> None:
    silent = [
        str(path.relative_to(ROOT)) for path in modules() if not path.read_text(encoding="utf-8").startswith('"""')
    ]
    assert not silent


def test_the_command_line_is_there_before_anything_heavy_is() -> None:
    heavy = {"aiomqtt", "asyncpg", "fastapi", "numpy", "pyarrow", "pydantic", "pymodbus", "ruamel.yaml", "structlog"}
    listing = "import sys, emsd.cli; print(*sys.modules, sep='\\n')"
    loaded = subprocess.run([sys.executable, "-c", listing], capture_output=True, text=True, check=True, timeout=60)
    assert "emsd.cli.run" in loaded.stdout.split()
    assert heavy & set(loaded.stdout.split()) == set()


def test_the_changelog_has_an_unreleased_section() -> None:
    assert "## [Unreleased]" in (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")


def test_every_page_that_the_readme_names_is_there() -> None:
    named = re.findall(r"\]\(([^)#]+)\)", (ROOT / "README.md").read_text(encoding="utf-8"))
    assert named
    assert [page for page in named if not page.startswith("http") and not (ROOT / page).exists()] == []
