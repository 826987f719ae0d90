"""The JSON Schema and the reference know every key."""

from __future__ import annotations

import importlib
import json
import re
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from triggerhub.config import refused, schema
from triggerhub.config.editor import json_schema
from triggerhub.config.plugins import BUILT_IN, Plugins

REFERENCE = (Path(__file__).parents[2] / "docs" / "configuration.md").read_text()


@pytest.fixture
def sources(tmp_path: Path) -> dict[str, ModuleType]:
    plugins = Plugins(tmp_path)
    return {name: plugins.load(name) for name in plugins.names}


@pytest.fixture
def whole(sources: dict[str, ModuleType]) -> dict[str, Any]:
    return json_schema(sources)


def test_it_is_json_and_every_reference_leads_somewhere(whole: dict[str, Any]) -> None:
    text = json.dumps(whole)
    names = set(re.findall(r'"#/\$defs/([^"]*)"', text))
    assert names == set(whole["$defs"])
    assert "null" not in text


def test_there_is_one_closed_table_per_type(whole: dict[str, Any], sources: dict[str, ModuleType]) -> None:
    tables = whole["properties"]["triggers"]["additionalProperties"]["oneOf"]
    assert [table["title"] for table in tables] == sorted(sources)
    for table in tables:
        options = sources[table["title"]].Options
        assert set(table["properties"]) == set(schema.Trigger.model_fields) | set(options.model_fields)
        assert table["properties"]["type"]["const"] == table["title"]
        assert table["additionalProperties"] is False
        assert "type" in table["required"]


def test_units_are_words(whole: dict[str, Any]) -> None:
    defaults = whole["$defs"]["Defaults"]["properties"]
    assert (defaults["timeout"]["type"], defaults["timeout"]["default"]) == ("string", "30s")
    assert (defaults["memory"]["type"], defaults["memory"]["default"]) == ("string", "256MB")
    assert whole["$defs"]["Hub"]["properties"]["listen"]["default"] == "127.0.0.1:8700"


def test_every_key_says_what_it_is(whole: dict[str, Any]) -> None:
    for name in (
        "Hub",
        "Defaults",
        "Function",
        "Retry",
        "DeadLetters",
        "Idempotency",
        "Sandbox",
        "Batch",
        "Log",
        "Tls",
    ):
        for key, about in whole["$defs"][name]["properties"].items():
            assert about.get("description"), f"{name}.{key}"


OWN = '''
from pydantic import Field
from triggerhub import source


class Common(source.Options):
    place: str
    """Where it is."""


class Options(Common):
    often: int = 1
    """How often
    it comes."""
    since: str = Field("", alias="from")
    """When it began."""
    told: int = Field(0, description="What the field itself says.")
    """What the docstring says."""
    mute: int = 0


async def run(ctx, options):
    pass
'''


def test_a_key_of_a_project_s_own_source_says_what_the_docstring_below_it_does(tmp_path: Path) -> None:
    tmp_path.joinpath("sources").mkdir()
    tmp_path.joinpath("sources", "own.py").write_text(OWN)
    whole = json_schema({"own": Plugins(tmp_path).load("own")})
    (table,) = whole["properties"]["triggers"]["additionalProperties"]["oneOf"]
    keys = ("place", "often", "from", "told", "mute")
    assert {key: table["properties"][key].get("description") for key in keys} == {
        "place": "Where it is.",
        "often": "How often\nit comes.",
        "from": "When it began.",
        "told": "What the field itself says.",
        "mute": None,
    }


def test_what_is_refused_is_not_offered(whole: dict[str, Any]) -> None:
    assert not {"store"} & set(whole["$defs"]["Hub"]["properties"])


def sections() -> dict[str, str]:
    parts = re.split(r"(?m)^#{2,3} (.*)$", REFERENCE)
    return dict(zip(parts[1::2], parts[2::2], strict=True))


def keys() -> Iterator[tuple[str, str]]:
    """Name every key of the schema with the heading that it must be found under."""
    for heading, model in (
        ("[hub]", schema.Hub), ("[defaults] and [functions.NAME]", schema.Function), ("retry", schema.Retry),
        ("[triggers.NAME]", schema.Trigger), ("idempotency", schema.Idempotency), ("batch", schema.Batch),
        ("dead_letters", schema.DeadLetters), ("sandbox", schema.Sandbox), ("log", schema.Log), ("tls", schema.Tls),
    ):  # fmt: skip
        for key in model.model_fields:
            yield heading, key
    for file in sorted(BUILT_IN.glob("[a-z]*.py")):
        for key in importlib.import_module(f"sources.{file.stem}").Options.model_fields:
            yield f'type = "{file.stem}"', key


@pytest.mark.parametrize(("heading", "key"), list(keys()))
def test_the_reference_has_every_key(heading: str, key: str) -> None:
    assert f"| `{key}` |" in sections()[heading]


def test_the_reference_names_what_is_refused() -> None:
    section = sections()["What is not in this version"]
    for one in refused.REFUSED:
        assert f"| {one.name} |" in section


def test_the_reference_invents_nothing() -> None:
    wanted: dict[str, set[str]] = {}
    for heading, key in keys():
        wanted.setdefault(heading, set()).add(key)
    for heading, known in wanted.items():
        written = set(re.findall(r"(?m)^\| `([a-z_]+)` \|", sections()[heading]))
        assert written <= known, f"{heading}: {written - known}"
