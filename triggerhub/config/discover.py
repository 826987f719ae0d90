"""Find the functions that lie in the handlers folder, by their names alone."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from triggerhub.config.problem import Problem
from triggerhub.config.values import NAME
from triggerhub.policy.leftovers import passing

RuntimeName = Literal["python", "node", "executable", "provided"]

RUNTIMES: dict[str, RuntimeName] = {".py": "python", ".mjs": "node", ".js": "node", ".cjs": "node"}
BOOTSTRAP = "bootstrap"
"""The file of a folder that, executable, fetches its events from the Lambda Runtime API."""
_ENTRIES = ("index.py", "index.mjs", "index.js", "index.cjs", "main.py", "lambda_function.py")


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """A function's code on the disk."""

    entry: Path
    """The file that is loaded or executed."""
    runtime: RuntimeName
    folder: bool = False
    """Whether all of the entry's folder is the code, not the entry alone."""

    @property
    def folder_or_entry(self) -> Path:
        """What lies in the handlers folder itself."""
        return self.entry.parent if self.folder else self.entry


@dataclass(slots=True)
class Discovery:
    """What lies in the handlers folder."""

    found: dict[str, Found] = field(default_factory=dict)
    names: set[str] = field(default_factory=set)
    """Names that are taken, those included whose code cannot be used."""
    undecided: dict[str, Problem] = field(default_factory=dict)
    """Folders that are functions only if a table says which of their files is meant."""
    unentered: dict[str, Problem] = field(default_factory=dict)
    """Folders with code, of which no file is an entry: what nothing else uses was perhaps to be a function."""
    problems: list[Problem] = field(default_factory=list)


def discover(handlers: Path, shown: str) -> Discovery:
    """Look at the folder, which people know as *shown*. A missing one holds no functions."""
    result = Discovery()
    by_name: dict[str, list[Path]] = {}
    for entry in _entries(handlers, shown, result):
        name = entry.name if entry.is_dir() else entry.stem
        found = _found(entry, f"{shown}/{entry.name}", result)
        if found is None:
            continue
        if not NAME.fullmatch(name):
            message = f"{name!r} cannot be a function's name: letters, digits, '-' and '_', at most 64; it is ignored"
            result.problems.append(_warning(f"{shown}/{entry.name}", "bad-name", message))
            continue
        by_name.setdefault(name, []).append(entry)
        result.found[name] = found
    result.names |= by_name.keys()
    # Where a function of that name is there, the folder is what it uses.
    result.unentered = {name: one for name, one in result.unentered.items() if name not in by_name}
    for name, entries in by_name.items():
        if len(entries) > 1:
            del result.found[name]
            several = " and ".join(f"{shown}/{entry.name}" for entry in entries)
            message = f"{several} are both the function {name}"
            result.problems.append(
                Problem(
                    file=f"{shown}/{entries[-1].name}", code="duplicate-function", message=message, hint="rename one"
                )
            )
    return result


def runtime_of(file: Path) -> RuntimeName | None:
    """Return what runs a file, None where nothing does: that of a folder's bootstrap only its place tells."""
    if file.suffix in RUNTIMES:
        return RUNTIMES[file.suffix]
    return "executable" if os.access(file, os.X_OK) and _executable(file) else None


def entry_of(folder: Path) -> list[Path]:
    """Return the files of a folder that could be its entry; one is right, and a bootstrap is it in any case."""
    bootstrap = folder / BOOTSTRAP
    if bootstrap.is_file() and os.access(bootstrap, os.X_OK):
        return [bootstrap]
    return [folder / name for name in _ENTRIES if (folder / name).is_file()]


def _entries(handlers: Path, shown: str, result: Discovery) -> Iterator[Path]:
    try:
        yield from sorted(entry for entry in handlers.iterdir() if not entry.name.startswith(("_", ".")))
    except FileNotFoundError:
        return
    except OSError as error:
        message = f"{shown} cannot be read: {error.strerror}"
        result.problems.append(Problem(file=shown, code="unreadable", message=message))


def _found(entry: Path, shown: str, result: Discovery) -> Found | None:
    if entry.is_dir():
        return _found_in(entry, shown, result)
    if entry.is_symlink() and not entry.exists():
        message = f"{shown} is a link that leads nowhere; it is ignored"
        result.problems.append(_warning(shown, "ignored-file", message))
    if passing(entry.name) or not entry.is_file():
        return None
    if runtime := runtime_of(entry):
        if runtime == "executable" and (problem := _unstartable(entry, shown)):
            result.problems.append(problem)
        return Found(entry=entry, runtime=runtime)
    if not _readable(entry):
        message, hint = "cannot be read; it is ignored", "let the hub's user read it: a copy of it is what runs"
    elif os.access(entry, os.X_OK):
        message, hint = "is executable but has no #! line and is no binary; it is ignored", "begin it with #!"
    else:
        message = "is neither .py, .js, .mjs, .cjs nor executable; it is ignored"
        hint = "make it executable with chmod +x" if _scripted(entry) else "put _ in front of its name to say so"
    result.problems.append(_warning(shown, "ignored-file", f"{shown} {message}", hint))
    return None


def _found_in(folder: Path, shown: str, result: Discovery) -> Found | None:
    entries = entry_of(folder)
    if not entries and (folder / BOOTSTRAP).is_file():
        message = f"{shown}/{BOOTSTRAP} is not executable; {shown} is ignored"
        hint = f"chmod +x {shown}/{BOOTSTRAP}"
        result.problems.append(_warning(f"{shown}/{BOOTSTRAP}", "ignored-file", message, hint))
    elif not entries and (problem := _unentered(folder, shown)):
        result.unentered[folder.name] = problem
    if len(entries) > 1:
        several = " and ".join(entry.name for entry in entries)
        result.undecided[folder.name] = Problem(
            file=shown,
            code="duplicate-function",
            message=f"{shown} has {several}: which of them is the function {folder.name}?",
            hint=f'say so with handler = "{folder.name}/{entries[0].name}" in [functions.{folder.name}]',
        )
    if len(entries) != 1:
        return None
    if entries[0].name == BOOTSTRAP:
        if problem := _unstartable(entries[0], f"{shown}/{BOOTSTRAP}"):
            result.problems.append(problem)
        return Found(entry=entries[0], runtime="provided", folder=True)
    return Found(entry=entries[0], runtime=RUNTIMES[entries[0].suffix], folder=True)


def _unentered(folder: Path, shown: str) -> Problem | None:
    """Return why a folder that looks like a function's is none; None for one that holds no code."""
    if folder.name == "node_modules":
        return None
    try:
        names = sorted(entry.name for entry in folder.iterdir() if entry.is_file())
    except OSError:
        return None
    code = [name for name in names if Path(name).suffix in RUNTIMES and not name.startswith(("_", "."))]
    if not code and not {"requirements.txt", "package.json"}.intersection(names):
        return None
    kind = RUNTIMES[Path(code[0]).suffix] if code else "python" if "requirements.txt" in names else "node"
    fitting = [name for name in _ENTRIES if RUNTIMES[Path(name).suffix] == kind]
    message = f"{shown} is no function: it has none of {', '.join(fitting)}"
    hint = f"put _ in front of {folder.name} where it is to be none"
    if code:
        hint = f'say which file it is with handler = "{folder.name}/{code[0]}" in [functions.{folder.name}], or {hint}'
    return _warning(shown, "ignored-file", message, hint)


def _head(file: Path) -> bytes:
    try:
        with file.open("rb") as opened:
            return opened.read(512)
    except OSError:
        return b""


def _readable(file: Path) -> bool:
    try:
        file.open("rb").close()
    except PermissionError:
        return False
    except OSError:
        pass
    return True


def _executable(file: Path) -> bool:
    head = _head(file)
    return head.startswith(b"#!") or b"\0" in head


def _unstartable(file: Path, shown: str) -> Problem | None:
    """Return why the system finds no interpreter for a script; its own word for it is that the script is not found."""
    head = _head(file)
    if not head.startswith(b"#!"):
        return None
    line, ends, _ = head[2:].partition(b"\n")
    if ends and line.endswith(b"\r"):
        message = f"{shown} has line ends of Windows: its #! line names a program whose name ends in a carriage return"
        return _warning(shown, "bad-handler", message, "save it with line ends of Unix")
    program = os.fsdecode(line.split()[0]) if line.split() else ""
    if program.startswith("/") and not Path(program).exists():
        return _warning(
            shown, "bad-handler", f"{shown} is to be run by {program}, which is not there", "mend its first line"
        )
    return None


def _scripted(file: Path) -> bool:
    return file.suffix == ".sh" or _head(file).startswith(b"#!")


def _warning(file: str, code: str, message: str, hint: str | None = None) -> Problem:
    return Problem(file=file, severity="warning", code=code, message=message, hint=hint)
