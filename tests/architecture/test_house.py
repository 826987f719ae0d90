"""The house rules that a machine can hold."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
MODULES = sorted((ROOT / "triggerhub").rglob("*.py")) + sorted((ROOT / "sources").rglob("*.py"))
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
LARGEST = 500


def test_there_is_something_to_look_at() -> None:
    assert len(MODULES) > 100


@pytest.mark.parametrize("module", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_module_is_one_noun_and_says_what_it_is_for(module: Path) -> None:
    text = module.read_text()
    assert text.count("\n") <= LARGEST, "is it two nouns?"
    assert ast.get_docstring(ast.parse(text)), "a module docstring says what the module does"
    assert not re.search(r"\b(TODO|FIXME|XXX)\b", text)


def test_sources_is_a_namespace_that_users_can_add_to() -> None:
    assert not (ROOT / "sources" / "__init__.py").exists()


def test_the_pure_floors_read_no_clock_and_draw_no_number() -> None:
    forbidden = re.compile(
        r"^\s*(import|from) (time|random|secrets|socket|subprocess|asyncio|anyio|os)\b", re.MULTILINE
    )
    for folder in ("policy", "aws"):
        modules = list((ROOT / "triggerhub" / folder).rglob("*.py"))
        assert len(modules) > 10
        for module in modules:
            assert not forbidden.search(module.read_text()), module


def imported(module: Path) -> Iterator[str]:
    """Name the packages of others that a module imports, wherever in it."""
    for node in ast.walk(ast.parse(module.read_text())):
        names = [one.name for one in node.names] if isinstance(node, ast.Import) else []
        if isinstance(node, ast.ImportFrom) and not node.level and node.module:
            names = [node.module]
        for name in names:
            if (top := name.partition(".")[0]) not in sys.stdlib_module_names | {"triggerhub", "sources"}:
                yield top


def required(entries: list[str]) -> set[str]:
    return {re.split(r"[><=\[; ]", entry)[0].lower().replace("_", "-") for entry in entries}


def test_what_is_imported_is_declared_and_what_is_declared_has_a_lower_bound() -> None:
    distributions = metadata.packages_distributions()
    tracing = ROOT / "triggerhub" / "telemetry" / "tracing.py"
    assert {module for module in MODULES if "opentelemetry" in imported(module)} == {tracing}
    used = required(
        [
            name
            for module in MODULES
            for package in imported(module)
            if package != "opentelemetry"  # of the extra otel, and many distributions have a part of it
            for name in distributions.get(package, [package])
        ]
    )
    declared, extra = required(PROJECT["dependencies"]), required(PROJECT["optional-dependencies"]["jwt"])
    assert used <= declared, used - declared
    # Data; named by an option of anyio; for the AWS sources.
    assert declared - used == {"tzdata", "uvloop", "aiobotocore"}
    assert not declared & extra
    assert all(">=" in entry for group in PROJECT["optional-dependencies"].values() for entry in group)
    assert all(">=" in entry for entry in PROJECT["dependencies"])


def test_what_runs_inside_a_worker_needs_the_standard_library_only() -> None:
    modules = list((ROOT / "triggerhub" / "runtimes" / "bootstrap").glob("*.py"))
    assert "worker.py" in {module.name for module in modules}
    for module in modules:
        assert list(imported(module)) == []
        assert "triggerhub" not in re.findall(r"(?m)^\s*(?:import|from) (\w+)", module.read_text())


def test_a_hub_that_does_not_need_them_loads_no_large_packages() -> None:
    large = ("aiobotocore", "botocore", "aiohttp", "cryptography", "jwt", "jsonpath_rfc9535", "opentelemetry")
    code = f"import sys, triggerhub.app; print([name for name in {large} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert done.stdout == "[]\n"


def test_the_wheel_carries_both_packages_and_their_data(tmp_path: Path) -> None:
    from hatchling.builders.wheel import WheelBuilder

    (wheel,) = WheelBuilder(str(ROOT)).build(directory=str(tmp_path), versions=["standard"])
    names = set(zipfile.ZipFile(wheel).namelist())
    wanted = {
        str(path.relative_to(ROOT))
        for top in ("triggerhub", "sources")
        for path in (ROOT / top).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    assert len(wanted) > 150
    assert {"triggerhub/py.typed", "triggerhub/config/template/gitignore"} <= wanted
    assert {name for name in names if ".dist-info/" not in name} == wanted, (
        "nothing is missing, and nothing else is there"
    )


def test_the_source_distribution_can_run_its_own_demonstration_and_tests(tmp_path: Path) -> None:
    from hatchling.builders.sdist import SdistBuilder

    (archive,) = SdistBuilder(str(ROOT)).build(directory=str(tmp_path), versions=["standard"])
    with tarfile.open(archive) as opened:
        names = {name.partition("/")[2] for name in opened.getnames()}
    assert {"Makefile", ".ci/run", "triggerhub.toml", "inbox/.keep", "handlers/count.sh", "docs/files.md"} <= names
    assert not {name for name in names if name.startswith((".venv", "var/", "inbox/")) and name != "inbox/.keep"}
