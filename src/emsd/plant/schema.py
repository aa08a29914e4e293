"""JSON Schemas (draft 2020-12) of the files that people write, so that editors complete and check them."""

from __future__ import annotations

from typing import Any, Final

from pydantic import BaseModel
from pydantic.json_schema import GenerateJsonSchema

from emsd.plant.models import Plant
from emsd.plant.profile import Profile

__all__ = ["plant_schema", "profile_schema"]

_VARIABLE: Final = {"type": "string", "pattern": r"\$\{[A-Za-z_]"}
"""A number may stand in the environment: `port: ${MQTT_PORT}`."""

_BOUNDS: Final = ("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum")


def plant_schema() -> dict[str, Any]:
    """Return the schema of a plant's YAML file."""
    schema = _schema(Plant, "Description of a plant for emsd")
    _allow_variables(schema)
    return schema


def profile_schema() -> dict[str, Any]:
    """Return the schema of a device profile's YAML file."""
    return _schema(Profile, "Device profile for emsd")


def _schema(model: type[BaseModel], title: str) -> dict[str, Any]:
    return {"$schema": GenerateJsonSchema.schema_dialect, **model.model_json_schema(), "title": title}


def _allow_variables(node: Any) -> None:
    """Let every number in a schema be a `${NAME}` too; changes it in place."""
    if isinstance(node, list):
        for child in node:
            _allow_variables(child)
    elif isinstance(node, dict):
        if node.get("type") in {"integer", "number"}:
            number = {name: node.pop(name) for name in ("type", *_BOUNDS) if name in node}
            node["anyOf"] = [number, dict(_VARIABLE)]
        else:
            for child in node.values():
                _allow_variables(child)
