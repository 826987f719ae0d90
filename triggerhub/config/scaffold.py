"""Write a small project that works, for ``triggerhub init``."""

from __future__ import annotations

from pathlib import Path

from triggerhub.errors import ConfigError, Conflict

TEMPLATE = Path(__file__).parent / "template"
_RENAMED = {"gitignore": ".gitignore"}
"""A file that must not have its effect within this package."""


def scaffold(folder: Path) -> list[Path]:
    """Make the project in *folder*, which is made if it is not there; return the files, relative to it.

    Conflict where one of them is there already: then nothing is written; only a .gitignore is left as it
    is. ConfigError where the disk refuses.
    """
    files = {target: source for source in sorted(TEMPLATE.rglob("*")) if (target := _target(source))}
    if (folder / ".gitignore").exists():
        del files[Path(".gitignore")]
    for target in files:
        if (folder / target).exists():
            raise Conflict(f"{folder / target} is there already", hint="Name a new folder: triggerhub init DIR.")
    try:
        for target, source in files.items():
            (folder / target).parent.mkdir(parents=True, exist_ok=True)
            content = source.read_bytes()
            (folder / target).write_bytes(content)
            if content.startswith(b"#!"):
                # Not every installer keeps the mode of what is in a wheel.
                (folder / target).chmod(0o755)
        (folder / "inbox").mkdir(exist_ok=True)
        (folder / "inbox" / ".keep").touch()
    except OSError as error:
        raise ConfigError(f"{error.filename or folder} cannot be written: {error.strerror}") from error
    return [*files, Path("inbox/.keep")]


def _target(source: Path) -> Path | None:
    relative = source.relative_to(TEMPLATE)
    if not source.is_file() or "__pycache__" in relative.parts:
        return None
    return relative.with_name(_RENAMED.get(relative.name, relative.name))
