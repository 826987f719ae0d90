"""Find what shall run a function on this host, by Lambda's names or by a path.

A name that is found lies: a version manager's shim may start another version, or none. So what is
found is run once and asked.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from glob import glob
from pathlib import Path
from typing import Literal

from triggerhub.config.discover import RuntimeName
from triggerhub.errors import ConfigError
from triggerhub.settings import Interpreter

PROGRAMS = "/usr/local/bin:/usr/bin:/bin"
"""Where programs are looked for in any case."""
KINDS: tuple[RuntimeName, ...] = ("python", "node", "executable", "provided")
LEAST = {"python": (3, 8), "node": (18,)}
"""The oldest versions that run handlers."""
KNOWN = '"python", "python3.12", "node", "nodejs20.x", "executable", "provided", "provided.al2023", or a path'
_NAMED = re.compile(r"(python|nodejs|node)(\d+(?:\.\d+)*)?(?:\.x)?")
_OTHERS = re.compile(r"(java|dotnet|ruby|go|dotnetcore)\d[\d.]*x?")
_PROBES = {
    "python": [
        "-I", "-S", "-c",
        "import json,sys;print(json.dumps([sys.version_info[:3],sys.executable,[sys.prefix,sys.base_prefix]]))",
    ],
    "node": ["-p", "JSON.stringify([process.versions.node.split('.').map(Number), process.execPath, []])"],
}  # fmt: skip
_PROBE_TIMEOUT = 20.0


@dataclass(frozen=True, slots=True)
class Wanted:
    """What ``runtime`` asks for."""

    runtime: RuntimeName | None
    """None where only the program at ``path`` can say."""
    version: tuple[int, ...] = ()
    path: str = ""


def parse(text: str) -> Wanted:
    """Read the value of ``runtime``; pure. Raises ConfigError."""
    if text in KINDS:
        return Wanted(text)
    if text in ("provided.al2", "provided.al2023"):
        return Wanted("provided")
    if "/" in text or text.startswith("~"):
        return Wanted(None, path=text)
    if match := _NAMED.fullmatch(text):
        version = tuple(int(part) for part in (match[2] or "").split(".") if part)
        if match[1] == "python":
            # "python3" is what any Python is called by now; the hub's own is one.
            return Wanted("python", () if version == (3,) else version)
        return Wanted("node", version)
    if match := _OTHERS.fullmatch(text):
        raise ConfigError(
            f"nothing here runs {text}",
            hint=f"put an executable bootstrap into the function's folder that starts {match[1]}'s own runtime client, "
            'and write runtime = "provided"',
        )
    raise ConfigError(f'there is no runtime "{text}"', hint=f"expected {KNOWN}")


def find(wanted: Wanted, environ: Mapping[str, str]) -> Interpreter | None:
    """Return the interpreter; None is the hub's own, or none at all. Raises Missing, and ConfigError for a bad path."""
    if wanted.path:
        return _at(os.path.expanduser(wanted.path))  # noqa: PTH111 - a user that is not there is no error of ours
    if not wanted.version or wanted.runtime not in LEAST:
        return None
    if wanted.version < LEAST[wanted.runtime]:
        least = ".".join(map(str, LEAST[wanted.runtime]))
        raise ConfigError(f"handlers need {wanted.runtime} {least} or newer, not {_dotted(wanted.version)}")
    for program in _candidates(wanted, environ):
        found = _asked(wanted.runtime, program)
        if found is not None and found.version[: len(wanted.version)] == wanted.version:
            return found
    raise Missing(wanted, installed("python" if wanted.runtime == "python" else "node", environ))


def installed(kind: Literal["python", "node"], environ: Mapping[str, str]) -> list[str]:
    """Name the interpreters of this host that run handlers. Blocks: each is started once."""
    names = {one.name for one in _all(kind, environ)}
    return sorted(names, key=lambda name: [int(part) for part in re.findall(r"\d+", name)])


def found(environ: Mapping[str, str]) -> list[Interpreter]:
    """Return the interpreters of this host, each by the program that it says it is. Blocks: each is started once."""
    programs: dict[str, RuntimeName] = {}
    for kind in KINDS[:2]:
        for program in _candidates(Wanted(kind), environ):
            # /bin is /usr/bin on most hosts.
            programs.setdefault(str(Path(os.path.realpath(Path(program).parent), Path(program).name)), kind)
    asked = (_asked(kind, program) for program, kind in programs.items())
    return list({one.program: one for one in asked if one}.values())


def usual_node(environ: Mapping[str, str]) -> str | None:
    """Return the first ``node`` of the PATH; where a version manager put that there, the one that it starts."""
    program = shutil.which("node", path=environ.get("PATH"))
    if program is None or _itself(program):
        return program
    asked = _asked("node", program)
    return asked.program if asked else program


def _itself(program: str) -> bool:
    real = Path(os.path.realpath(program))
    try:
        with real.open("rb") as file:
            return real.name.startswith("node") and file.read(4) == b"\x7fELF"
    except OSError:
        return False


def on_path(name: str) -> Interpreter | None:
    """Return the Python that a handler finds by *name* where it sets no PATH; None where there is none."""
    program = shutil.which(name, path=PROGRAMS)
    found = _asked("python", program) if program else None
    # By its own path: that is what it will be started by.
    return replace(found, program=program) if found and program else None


class Missing(ConfigError):
    """No interpreter of the kind and version that is wanted is on this host."""

    def __init__(self, wanted: Wanted, there: list[str]) -> None:
        version = _dotted(wanted.version)
        if wanted.runtime == "python":
            name, hint = f"python{version}", f"apt install python{version}, or uv python install {version}"
        else:
            name, hint = f"nodejs{version}.x", f"install Node {version}, and let the hub's PATH lead to it"
        found = f"found: {', '.join(there)}" if there else "none was found"
        super().__init__(f"{name}, which is not installed here; {found}", hint=hint)
        self.name = name
        self.runtime: Literal["python", "node"] = "python" if wanted.runtime == "python" else "node"


def _at(path: str) -> Interpreter:
    if not path.startswith("/"):
        raise ConfigError(f'"{path}" is not a whole path', hint=f"expected {KNOWN}")
    if not os.access(path, os.X_OK) or Path(path).is_dir():
        raise ConfigError(f"{path} is not an executable file")
    kinds = ("node", "python") if Path(path).name.startswith("node") else ("python", "node")
    for kind in kinds:
        if found := _asked(kind, path):
            if found.version < LEAST[kind]:
                least = _dotted(LEAST[kind])
                raise ConfigError(f"{path} is {kind} {_dotted(found.version)}; handlers need {least} or newer")
            return found
    raise ConfigError(f"{path} is neither Python nor Node")


def _all(kind: str, environ: Mapping[str, str]) -> Iterator[Interpreter]:
    seen = set()
    for program in _candidates(Wanted("python" if kind == "python" else "node"), environ):
        found = _asked(kind, program)
        if found is not None and found.version >= LEAST[kind] and found.name not in seen:
            seen.add(found.name)
            yield found


def _candidates(wanted: Wanted, environ: Mapping[str, str]) -> Iterator[str]:
    """Name the programs that could be it, the likeliest first."""
    version, home = _dotted(wanted.version), environ.get("HOME") or "/nonexistent"
    folders = [*(folder for folder in environ.get("PATH", "").split(":") if folder), *PROGRAMS.split(":")]
    if wanted.runtime == "python":
        yield sys.executable
        names = [f"python{version}"] if wanted.version else []
        patterns = ["python3.*[0-9]", "python3"]
        managers = [
            f"{home}/.pyenv/versions/{version}*/bin/python3",
            f"{home}/.local/share/uv/python/cpython-{version}*/bin/python3",
            f"/opt/python*{version}*/bin/python3",
        ]
    else:
        names = [f"node{version}", f"node-{version}"] if wanted.version else []
        patterns = ["node", "nodejs", "node[0-9]*"]
        managers = [f"{home}/.nvm/versions/node/v{version}*/bin/node", f"/opt/node*{version}*/bin/node"]
    for name in names:
        yield from (found for folder in folders if (found := shutil.which(name, path=folder)))
    for pattern in (*(f"{folder}/{name}" for folder in folders for name in patterns), *managers):
        yield from (path for path in sorted(glob(pattern), reverse=True) if os.access(path, os.X_OK))  # noqa: PTH207 - a pattern from a PATH


def _asked(kind: str, program: str) -> Interpreter | None:
    """Ask a program what it is; None where it is none of *kind*."""
    try:
        stamp = Path(program).stat().st_mtime_ns
    except OSError:
        return None
    return _ask(kind, program, stamp)


@lru_cache(maxsize=256)
def _ask(kind: str, program: str, _stamp: int) -> Interpreter | None:
    try:
        ran = subprocess.run(
            [program, *_PROBES[kind]],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            env={"PATH": PROGRAMS, "LANG": "C.UTF-8"},
            timeout=_PROBE_TIMEOUT,
            check=True,
        )
        version, executable, folders = json.loads(ran.stdout)
    except (OSError, subprocess.SubprocessError, ValueError):
        return None
    name = f"python{_dotted(version[:2])}" if kind == "python" else f"nodejs{version[0]}.x"
    return Interpreter(
        runtime="python" if kind == "python" else "node",
        program=executable or program,
        name=name,
        version=tuple(version),
        folders=tuple(dict.fromkeys(folders)),
    )


def _dotted(version: tuple[int, ...]) -> str:
    return ".".join(map(str, version))
