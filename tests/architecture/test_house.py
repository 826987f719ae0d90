"""The house rules that a machine can hold."""

from __future__ import annotations

import ast
import re
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
MODULES = sorted((ROOT / "triggerhub").rglob("*.py")) + sorted((ROOT / "sources").rglob("*.py"))
DOCUMENTS = sorted(ROOT.glob("*.md")) + sorted((ROOT / "docs").rglob("*.md"))
LARGEST = 500


def test_there_is_something_to_look_at() -> None:
    assert len(MODULES) > 40
    assert len(DOCUMENTS) > 8


@pytest.mark.parametrize("module", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_module_is_one_noun_and_says_what_it_is_for(module: Path) -> None:
    text = module.read_text()
    assert text.count("\n") <= LARGEST, "is it two nouns?"
    assert ast.get_docstring(ast.parse(text)), "a module docstring says what the module does"


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_document_links_to_what_exists(document: Path) -> None:
    for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", document.read_text()):
        assert (document.parent / target).exists(), target


def test_sources_is_a_namespace_that_users_can_add_to() -> None:
    assert not (ROOT / "sources" / "__init__.py").exists()


def test_the_pure_floors_read_no_clock_and_draw_no_number() -> None:
    forbidden = re.compile(
        r"^\s*(import|from) (time|random|secrets|socket|subprocess|asyncio|anyio|os)\b", re.MULTILINE
    )
    for folder in ("policy", "aws"):
        for module in (ROOT / "triggerhub" / folder).rglob("*.py"):
            assert not forbidden.search(module.read_text()), module


def test_the_wheel_carries_both_packages_and_their_data(tmp_path: Path) -> None:
    from hatchling.builders.wheel import WheelBuilder

    (wheel,) = WheelBuilder(str(ROOT)).build(directory=str(tmp_path), versions=["standard"])
    names = set(zipfile.ZipFile(wheel).namelist())
    wanted = {
        str(path.relative_to(ROOT))
        for top in ("triggerhub", "sources")
        for path in (ROOT / top).rglob("*")
        if path.suffix in {".py", ".sql", ".mjs", ".toml", ".sh"} and "__pycache__" not in path.parts
    }
    assert wanted <= names, wanted - names
