"""docs/commands.md lists what --help lists."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path
from types import ModuleType

import click
import pytest

from tests.cli.test_usage import commands
from triggerhub.cli import cli

DOCS = Path(__file__).parents[2] / "docs"


@pytest.fixture(scope="module")
def make() -> ModuleType:
    spec = importlib.util.spec_from_file_location("docs_make", DOCS / "make.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_reference_is_that_of_the_program(make: ModuleType) -> None:
    assert make.written() == "\n" + make.reference() + "\n", "it is stale; run: python docs/make.py commands"
    table = "\n" + make.operations() + "\n"
    assert make.written("lambda-api.md") == table, "it is stale; run: python docs/make.py lambda"


def test_the_reference_has_every_command_and_every_option(make: ModuleType) -> None:
    """Held apart from how it is made, so that the making cannot leave one out."""
    sections = {part.split("`")[0]: part for part in make.written().split("### `triggerhub ")[1:]}
    for path, command in commands():
        if isinstance(command, click.Group):
            continue
        (section,) = [text for usage, text in sections.items() if re.match(rf"{' '.join(path)}( [^a-z]|$)", usage)]
        for option in command.params:
            if isinstance(option, click.Option) and not option.hidden and option.name != "json":
                assert all(f"`{name}`" in section for name in option.opts), (path, option.opts)


def test_exit_codes_common_options_and_what_is_refused_are_told() -> None:
    text = (DOCS / "commands.md").read_text().split("<!--")[0]
    for code in (0, 1, 2, 3, 4, 5, 130):
        assert f"\n| {code} | " in text
    told = {one.metavar: one.help for one in cli.params if isinstance(one, click.Option) and one.metavar}
    assert set(told) == {"DIR", "URL", "T"}
    for metavar, words in told.items():
        (row,) = re.findall(rf"^\| `-[\w-]+ {metavar}` \| (.*) \|$", text, re.MULTILINE)
        assert row.startswith(words), "the table says what --help says, and perhaps more"
    for word in (
        "`-C DIR`",
        "`--hub URL`",
        "`--token T`",
        "`--json`",
        "`--version`",
        "NO_COLOR",
    ):
        assert word in text
    for field in ("id", "event_id", "dedup_key", "ordering_key", "duration_ms", "due"):
        assert f"`{field}`" in text
