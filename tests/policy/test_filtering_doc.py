"""Run every example of docs/filtering.md."""

from __future__ import annotations

import json
import re
import tomllib
from pathlib import Path
from typing import Any

import pytest

from triggerhub.policy import selecting
from triggerhub.policy.filtering import PatternError, compile  # noqa: A004 - as in re.compile
from triggerhub.policy.filtering.matcher import OPERATORS

TEXT = (Path(__file__).parents[2] / "docs" / "filtering.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```(\w+) ?([\w ]*)\n(.*?)^```$", TEXT, re.MULTILINE | re.DOTALL)
ROWS = re.findall(r"^\| `(.+?)` \| (?:`(.+)`|none) \|$", TEXT, re.MULTILINE)


def examples() -> list[tuple[Any, str, Any]]:
    """Each record with the pattern above it."""
    pattern, found = None, []
    for language, kind, text in BLOCKS:
        if kind == "pattern":
            pattern = json.loads(text)
        elif language == "json" and kind in ("matches", "does not match"):
            found.append((pattern, kind, json.loads(text)))
    return found


@pytest.mark.parametrize(("pattern", "kind", "record"), examples())
def test_each_record_matches_or_not_as_the_text_says(pattern: Any, kind: str, record: Any) -> None:
    compiled = compile(pattern)
    assert compiled.matches(record) is (kind == "matches"), compiled.why(record)


@pytest.mark.parametrize("text", [text for _, kind, text in BLOCKS if kind == "refused"])
def test_each_mistake_is_refused(text: str) -> None:
    with pytest.raises(PatternError):
        compile(json.loads(text))


@pytest.mark.parametrize(("expression", "key"), ROWS)
def test_each_expression_selects_its_key(expression: str, key: str) -> None:
    record = next(json.loads(text) for _, kind, text in BLOCKS if kind == "record")
    assert selecting.compile(expression).select(record) == (key or None)


def test_the_toml_is_toml_and_its_filters_and_keys_compile() -> None:
    tables = [tomllib.loads(text) for language, _, text in BLOCKS if language == "toml"]
    orders = tables[0]["triggers"]["orders"]
    sentence = compile(orders["filter"]).why({"body": {"total": 0}})
    assert f"`filtered: {sentence}`" in TEXT
    assert selecting.compile(orders["key"]).select({"body": {"orderId": "1"}}) == "1"
    assert tables[1]["filter"] == next(json.loads(text) for _, kind, text in BLOCKS if kind == "pattern")


def test_the_text_has_an_example_of_each_operator_that_matches_and_one_that_does_not() -> None:
    for operator in [*OPERATORS, "$or"]:
        kinds = {kind for pattern, kind, _ in examples() if f'"{operator}"' in json.dumps(pattern)}
        assert kinds == {"matches", "does not match"}, operator
    assert len(ROWS) == 12
    assert len(examples()) > 30
