"""Describe triggerhub.toml as one JSON Schema, for editors."""

from __future__ import annotations

import json
from collections.abc import Mapping
from types import ModuleType
from typing import Any

from pydantic import BaseModel
from pydantic.json_schema import GenerateJsonSchema, JsonSchemaValue, models_json_schema

from triggerhub.config import docstrings
from triggerhub.config.schema import NAMED, TABLES, Function, Trigger
from triggerhub.policy import units

_REFERENCE = "#/$defs/{model}"
_SIZES = frozenset({"memory", "keep_size", "body"})


def json_schema(sources: Mapping[str, ModuleType]) -> dict[str, Any]:
    """Return the schema of the whole file; *sources* are the modules whose types a trigger may have."""
    types: dict[str, type[BaseModel]] = {name: module.Options for name, module in sorted(sources.items())}
    models: list[type[BaseModel]] = list(dict.fromkeys([*TABLES.values(), *NAMED.values(), *types.values()]))
    places, together = models_json_schema(
        [(model, "validation") for model in models], ref_template=_REFERENCE, schema_generator=_Described
    )
    definitions = {name: _tidied(one) for name, one in together["$defs"].items()}
    reference = {model: places[model, "validation"]["$ref"] for model in models}
    # The common keys and a type's own make one closed table, so neither is a definition by itself.
    joined: set[type[BaseModel]] = {Trigger, *types.values()}
    apart = {model: definitions.pop(_name(reference[model])) for model in joined}
    triggers = [_of_type(name, apart[Trigger], apart[model]) for name, model in types.items()]
    top: dict[str, Any] = {name: {"$ref": reference[model]} for name, model in TABLES.items()}
    top["functions"] = {"type": "object", "additionalProperties": {"$ref": reference[Function]}}
    top["triggers"] = {"type": "object", "additionalProperties": {"oneOf": triggers}}
    used = json.dumps([top, definitions])
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "triggerhub.toml",
        "type": "object",
        "additionalProperties": False,
        "properties": top,
        "$defs": {name: one for name, one in definitions.items() if f'"{_REFERENCE.format(model=name)}"' in used},
    }


class _Described(GenerateJsonSchema):
    """Says of each key what the docstring below it does."""

    def model_schema(self, schema: Any) -> JsonSchemaValue:
        made = super().model_schema(schema)
        said = docstrings.below(schema["cls"])
        for key, field in schema["cls"].model_fields.items():
            if key in said:
                made["properties"][field.alias or key].setdefault("description", said[key])
        return made


def _name(reference: str) -> str:
    return reference.rpartition("/")[2]


def _of_type(name: str, common: Mapping[str, Any], options: Mapping[str, Any]) -> dict[str, Any]:
    """Join the keys of every trigger with those of one type."""
    properties = common["properties"] | options.get("properties", {})
    properties["type"] = common["properties"]["type"] | {"const": name}
    return {
        "title": name,
        "description": options.get("description", ""),
        "type": "object",
        "additionalProperties": False,
        "properties": properties,
        "required": sorted({*common.get("required", ()), *options.get("required", ())}),
        "oneOf": [{"required": ["function"]}, {"required": ["functions"]}],
    }


def _tidied(schema: Any, name: str = "") -> Any:
    """Take out what is Python's: null, which TOML does not have, titles, and defaults in milliseconds or bytes."""
    if isinstance(schema, list):
        return [_tidied(one) for one in schema]
    if not isinstance(schema, dict):
        return schema
    tidy = {key: value if key in ("default", "enum", "const") else _tidied(value) for key, value in schema.items()}
    if isinstance(properties := schema.get("properties"), dict):
        tidy["properties"] = {key: _tidied(value, key) for key, value in properties.items()}
    elif isinstance(tidy.get("title"), str):
        del tidy["title"]
    choices = [one for one in tidy.get("anyOf", ()) if one != {"type": "null"}]
    if "anyOf" in tidy and len(choices) == 1:
        tidy = {key: value for key, value in tidy.items() if key != "anyOf"} | choices[0]
    elif choices:
        tidy["anyOf"] = choices
    default = tidy.get("default")
    if default is None or isinstance(default, dict):
        tidy.pop("default", None)
    if tidy.get("type") == "string" and isinstance(default, int):
        tidy["default"] = units.show_size(default) if name in _SIZES else units.show_duration(default)
    if name in ("listen", "admin") and isinstance(default, list | tuple):
        tidy["default"] = f"{default[0]}:{default[1]}"
    return tidy
