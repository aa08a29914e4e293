"""Every setting stands in the documentation with its default."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import typer.main
from typer.core import TyperGroup

from emsd.cli import app
from emsd.settings import Settings

PAGE = (Path(__file__).parents[2] / "docs" / "deploy.md").read_text()
DOCUMENTED = dict(
    re.findall(r"^\| `(EMSD_\w+)` \| ([^|]+?) \| [^|]+ \|$", PAGE.partition("### Settings")[2], re.MULTILINE)
)


def variables_of_the_service() -> set[str]:
    """The environment variables that the options of `emsd run`, `collect` and `serve` name."""
    group = typer.main.get_command(app)
    assert isinstance(group, TyperGroup)
    options = [option for name in ("run", "collect", "serve") for option in group.commands[name].params]
    return {str(option.envvar) for option in options if option.envvar is not None}


def test_the_documented_settings_are_those_that_exist() -> None:
    assert set(DOCUMENTED) == {f"EMSD_{name.upper()}" for name in Settings.model_fields} | variables_of_the_service()


@pytest.mark.parametrize("name", Settings.model_fields)
def test_the_documented_default_is_the_real_one(name: str) -> None:
    documented, real = DOCUMENTED[f"EMSD_{name.upper()}"].strip("`"), Settings.model_fields[name].default
    assert (float(documented) if isinstance(real, float) else documented) == (
        real if isinstance(real, float) else str(real)
    )
