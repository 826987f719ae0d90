"""Make small projects to load."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from triggerhub.config.load import Loaded, load

SOURCE = """
from collections.abc import Iterable
from typing import Literal

from pydantic import BaseModel

from triggerhub import settings, source


class Deep(BaseModel):
    model_config = {"extra": "forbid"}
    level: int = 0


class Options(source.Options):
    word: str
    often: int = 1
    loud: bool = False
    every: source.Duration = 1000
    tags: tuple[str, ...] = ()
    token: source.SecretValue | None = None
    mode: Literal["a", "b"] = "a"
    deep: Deep = Deep()


def check(options, trigger):
    if options.word == "odd":
        yield source.Finding(option="word", code="odd-word", message='"odd" is odd', warning=True)
    if options.word == "bad":
        yield source.Finding(option="word", code="bad-word", message='"bad" is bad', hint="try another")


async def run(ctx, options):
    pass
"""
HANDLER = "def handler(event, context):\n    return event\n"

Make = Callable[..., Path]
Check = Callable[..., list[str]]


@pytest.fixture
def make(tmp_path: Path) -> Make:
    """Write a project with the function ``echo`` and the source type ``say``; return its folder."""

    def make(toml: str, handlers: Mapping[str, str] | None = None, sources: Mapping[str, str] | None = None) -> Path:
        project = tmp_path / "project"
        for folder, files in (
            ("handlers", {"echo.py": HANDLER} if handlers is None else handlers),
            ("sources", {"say.py": SOURCE} if sources is None else sources),
        ):
            for name, text in files.items():
                path = project / folder / name
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(text)
                if text.startswith("#!"):
                    path.chmod(0o755)
        project.mkdir(exist_ok=True)
        (project / "triggerhub.toml").write_text(toml)
        return project

    return make


@pytest.fixture
def loaded(make: Make) -> Callable[..., Loaded]:
    """Make a project and load it without keeping versions."""

    def load_it(toml: str, *args: Mapping[str, str], environ: Mapping[str, str] | None = None) -> Loaded:
        return load(make(toml, *args), environ=environ or {})

    return load_it


@pytest.fixture
def check(loaded: Callable[..., Loaded]) -> Check:
    """Make a project, load it and return its problems as lines."""

    def check_it(toml: str, *args: Mapping[str, str], environ: Mapping[str, str] | None = None) -> list[str]:
        return [str(problem) for problem in loaded(toml, *args, environ=environ).problems]

    return check_it
