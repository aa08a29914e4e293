from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import date
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from emsd.cli.schema import Which, schema_text
from emsd.plant.schema import plant_schema, profile_schema
from emsd.plant.yaml_source import read_yaml

CONFIG = Path(__file__).parents[2] / "config"
PROFILES = Path(__file__).parents[2] / "collectors" / "profiles"


def as_json(value: Any) -> Any:
    """Return YAML data as an editor sees them: dates are text."""
    return json.loads(json.dumps(value, default=date.isoformat))


def properties(node: Any) -> Iterator[tuple[str, Any]]:
    if isinstance(node, dict):
        yield from node.get("properties", {}).items() if isinstance(node.get("properties"), dict) else ()
        for child in node.values():
            yield from properties(child)
    elif isinstance(node, list):
        for child in node:
            yield from properties(child)


@pytest.mark.parametrize("which", ["plant", "profile"])
def test_the_committed_schema_is_the_one_of_the_code(which: Which) -> None:
    assert (CONFIG / f"{which}.schema.json").read_text() == schema_text(which)


@pytest.mark.parametrize("schema", [plant_schema(), profile_schema()])
def test_it_is_a_valid_schema_and_every_field_says_what_it_is_for(schema: dict[str, Any]) -> None:
    Draft202012Validator.check_schema(schema)
    assert schema["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    assert [name for name, field in properties(schema) if not field.get("description")] == []


def test_the_example_plant_as_written_fits_the_schema() -> None:
    source, _ = read_yaml(CONFIG / "plant.example.yaml")
    errors = list(Draft202012Validator(plant_schema()).iter_errors(as_json(source.data)))
    assert errors == []


@pytest.mark.parametrize("path", sorted(PROFILES.glob("*.yaml")), ids=lambda path: path.stem)
def test_shipped_profiles_fit_the_schema(path: Path) -> None:
    source, _ = read_yaml(path)
    errors = list(Draft202012Validator(profile_schema()).iter_errors(as_json(source.data)))
    assert errors == []


def test_numbers_may_be_variables_but_not_any_text() -> None:
    validator = Draft202012Validator(plant_schema())
    data = as_json(read_yaml(CONFIG / "plant.example.yaml")[0].data)
    data["connections"][0]["port"] = "${PORT:-502}"
    assert validator.is_valid(data)
    data["connections"][0]["port"] = "five"
    assert not validator.is_valid(data)


def test_the_schema_refuses_what_the_models_refuse() -> None:
    validator = Draft202012Validator(plant_schema())
    data = as_json(read_yaml(CONFIG / "plant.example.yaml")[0].data)
    data["meters"][0]["colour"] = "blue"
    assert not validator.is_valid(data)
