"""Build the environment of what a function depends on: a read-only folder named by its content.

Built by uv, pip or npm in a sandbox of the function's own level, away from every event. It appears whole or not
at all, and what is there is used again, also by other functions with the same needs. What a build leaves is
taken for hostile: nothing but folders, files and links is published, and no link is followed out of it.
"""

from __future__ import annotations

import asyncio
import json
import os
import secrets
import shutil
import stat
import sys
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, suppress
from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import Path

import anyio.to_thread

from triggerhub.errors import ConfigError, StartFailed
from triggerhub.policy import allowlist, packaging, requirement
from triggerhub.policy.sandbox import view
from triggerhub.runtimes import egress, installation, installer
from triggerhub.runtimes.child import Spawn
from triggerhub.runtimes.installer import Job
from triggerhub.runtimes.snapshot import remove_tree
from triggerhub.settings import MB, Function, Needs

Enclose = Callable[[Function], AbstractAsyncContextManager[Spawn]]
"""Enters with what starts processes in a function's sandbox; raises StartFailed where it cannot be."""
_TMP = 64 * MB
_EMPTY = 'set -- "$0"/* "$0"/.[!.]* "$0"/..?*; chmod -R u+rwx "$@"; rm -rf "$@"'
_BROUGHT = "or bring the packages along: code with a .dist-info folder or with node_modules is taken as it is"
_LARGEST = 1024 * 1024
"""Bytes of a configuration file."""
_DEEPEST = 100
"""How many folders are within one another in what a build leaves."""
_LONGEST = 3072
"""Bytes of such a folder's path; the kernel takes 4096."""


class Environments:
    """A ``runtime.Environments`` below one folder."""

    def __init__(
        self, enclose: Enclose, environ: Mapping[str, str] | None = None, *, project: Path | None = None
    ) -> None:
        """*environ* says where registries are; by default the hub's own. *project* is what the hub serves."""
        self._project = project
        self._enclose = enclose
        self._environ = packaging.passed(os.environ if environ is None else environ)

    def ready(self, function: Function) -> bool:
        """Whether all is there that the function depends on."""
        return function.needs is None or function.needs.folder.is_dir()

    async def build(self, function: Function, tell: Callable[[str], None] = lambda line: None) -> None:
        """Build what is missing; a minute is not unusual. Raises ConfigError with the tool's last words.

        *tell* is called with what the tool says meanwhile. Cancelled: the tool is killed with all it started,
        and nothing is left.
        """
        needs = function.needs
        if needs is None or self.ready(function):
            return
        home = needs.folder.parent
        await anyio.to_thread.run_sync(lambda: home.mkdir(parents=True, exist_ok=True, mode=0o700))
        draft = home / f".{os.getpid()}.{secrets.token_hex(6)}"
        room = draft / "room"
        held = function.level != "trusted"
        inside: Function | None = None
        try:
            await anyio.to_thread.run_sync(_lay_out, needs, function, draft, held)
            command = _command(needs, room, self._environ.get("PATH"))
            job = Job(
                command=command,
                env=self._environ,
                cwd=room / "work",
                said=draft / "said",
                memory=max(function.memory, installer.MEMORY),
            )
            if held:
                prepared = await anyio.to_thread.run_sync(self._inside, function, needs, command[0], room)
                inside, job = prepared.function, replace(job, env=prepared.env)
                if prepared.apart:
                    listed = await _network(function, prepared.registries)
                    inside = replace(inside, network=listed)
                    job = replace(job, env={**prepared.env, **egress.variables(listed)})
                async with self._enclose(inside) as spawn:
                    await installer.run(job, spawn, tell)
            else:
                await installer.run(job, None, tell)
            await anyio.to_thread.run_sync(_publish, needs, draft)
        except StartFailed as error:
            raise ConfigError(str(error), hint=_BROUGHT) from error
        except OSError as error:
            raise ConfigError(f"the environment cannot be written to {home}: {error.strerror or error}") from error
        finally:
            with anyio.CancelScope(shield=True):
                if inside is not None:
                    await self._empty(inside, room)
                await anyio.to_thread.run_sync(remove_tree, draft)

    async def _empty(self, inside: Function, room: Path) -> None:
        """Remove what a build left as the user that it was: a hub that is neither that one nor root may not."""
        if os.geteuid() == 0 or not await anyio.to_thread.run_sync(_foreign, room):
            return
        job = Job(command=("/bin/sh", "-c", _EMPTY, str(room)), env={}, cwd=room, said=room.parent / "said")
        with suppress(StartFailed, ConfigError, OSError):
            async with self._enclose(inside) as spawn:
                await installer.run(job, spawn)

    def _inside(self, function: Function, needs: Needs, tool: str, room: Path) -> _Inside:
        """Return as what the installer runs: with its own room, and the registries of the hub's user."""
        environ = packaging.enclosed(self._environ, str(room))
        texts: list[str] = []
        if home := self._environ.get("HOME"):
            texts += [_copied(Path(home, name), room / "home", name) for name in packaging.OWN]
        for number, (name, path) in enumerate(packaging.files(self._environ).items()):
            copy = f".settings-{number}"
            texts.append(_copied(Path(path), room / "home", copy))
            environ[name] = str(room / "home" / copy)
        shared = [path for path in packaging.SHARED if Path(path).is_file()]
        texts += [_text(Path(path)) for path in shared]
        data = str(needs.folder.parent.parent)
        apart = installation.private([data, *([self._project] if self._project else [])])
        folders = [] if tool == sys.executable else _folders_of(tool, apart)
        folders += installation.of_program(needs.program, apart) if needs.program else []
        wanted = [*shared, *packaging.named(environ, texts), *folders]
        known = [Path(path) for path in dict.fromkeys(wanted) if not view.objection(path, data)]
        known = [path for path in known if path.exists()]
        inside = replace(
            function,
            runtime="executable",
            command=(),
            interpreter=None,
            needs=None,
            code=function.code if needs.apart else room / "work",
            opt=None,
            env={},
            read=(*function.read, *known),
            write=(room,),
            shown=(),
            links=(*function.links, *((path, Path(os.path.realpath(path))) for path in (*known, room))),
            memory=max(function.memory, installer.MEMORY),
            tmp=_TMP,
        )
        proxied = packaging.proxied(environ)
        return _Inside(
            # The proxy that those settings name may be this host's own.
            function=replace(inside, network="host" if proxied or function.network == "host" else True),
            env=environ,
            registries=packaging.registries(environ, texts),
            apart=function.network not in (True, "host") and not proxied,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Inside:
    """How an installer runs in a sandbox."""

    function: Function
    """As which it does."""
    env: dict[str, str]
    registries: tuple[tuple[str, int], ...]
    apart: bool
    """Whether it reaches the world by a proxy of the hub's, and nothing of the inside by it but registries."""


async def _network(function: Function, registries: Sequence[tuple[str, int]]) -> tuple[str, ...]:
    """Return what a build may reach: every public name by TLS, registries wherever they are, what its function may."""
    listed = ["*:443", *(function.network if isinstance(function.network, tuple) else ())]
    found = await asyncio.gather(*(egress.resolve(host.strip("[]"), port) for host, port in registries))
    for (host, port), addresses in zip(registries, found, strict=True):
        # A company's own registry is at no public address; its name is in the settings of the hub's user.
        listed += [allowlist.show(str(address), port) for address in addresses]
        listed.append(f"{host}:{port}")
    return tuple(dict.fromkeys(one for one in listed if _reads(one)))


def _reads(entry: str) -> bool:
    try:
        allowlist.parse(entry, every=True)
    except ValueError:
        return False
    return True


def shown(environ: Mapping[str, str], data: Path, apart: Sequence[str]) -> list[str]:
    """Return what of the host builds may see beside the hub's *data*: installers, and what registries name.

    *apart* is what ``installation.private`` returns.
    """
    passed = packaging.passed(environ)
    shared = [path for path in packaging.SHARED if Path(path).is_file()]
    files = [Path(passed.get("HOME", "/"), name) for name in packaging.OWN]
    files += [Path(path) for path in (*packaging.files(passed).values(), *shared)]
    tools = [tool for find in (_uv, _npm) if (tool := find(passed.get("PATH")))]
    named = packaging.named(passed, [_text(file) for file in files])
    found = [*shared, *named, *(folder for tool in tools for folder in _folders_of(tool, apart))]
    return [path for path in found if not view.objection(path, str(data))]


def _uv(path: str | None) -> str | None:
    """Return uv of *path*, or that of the hub's own environment, which need not be on it."""
    return shutil.which("uv", path=path) or shutil.which("uv", path=str(Path(sys.executable).parent))


def _npm(path: str | None) -> str | None:
    return shutil.which("npm", path=path)


def _folders_of(tool: str, apart: Sequence[str]) -> list[str]:
    """Return what an installer is made of: itself, and for npm the folders of it and of its Node."""
    real = os.path.realpath(tool)
    return [tool, real] if Path(tool).name == "uv" else installation.of_program(tool, apart)


def _text(path: Path) -> str:
    try:
        with path.open(encoding="utf-8", errors="replace") as file:
            return file.read(_LARGEST)
    except OSError:
        return ""


def _copied(path: Path, home: Path, name: str) -> str:
    """Put a configuration file where the build finds it, which may be another user; return its text."""
    if text := _text(path):
        copy = home / name
        copy.parent.mkdir(parents=True, exist_ok=True)
        copy.write_text(text)
        copy.chmod(0o444)
        for folder in (one for one in copy.parents if one.is_relative_to(home)):
            folder.chmod(0o777)
    return text


def collect(home: Path, keep: Collection[Path]) -> None:
    """Remove every environment below *home* that is not in *keep*, and drafts that another process left."""
    for folder in home.iterdir() if home.is_dir() else ():
        if folder not in keep and not folder.name.startswith(f".{os.getpid()}."):
            # What a build left as another user, when its hub was killed, only root removes.
            with suppress(PermissionError):
                remove_tree(folder)


def _lay_out(needs: Needs, function: Function, draft: Path, held: bool) -> None:
    """Copy to where the tool works what it is to see of the code; paths within that lead where they should.

    *held*: the tool may be another user, and the room is its own. Nobody else gets through the draft.
    """
    draft.mkdir(mode=0o700)
    room = draft / "room"
    for folder in (room, *(room / name for name in ("made", "home", "tmp", "cache"))):
        folder.mkdir()
    if needs.apart:
        # A link of that name leads to what is to be built.
        shutil.copytree(function.code, room / "work", ignore=shutil.ignore_patterns("node_modules"))
    else:
        _lay_out_words(needs, function.code, room / "work")
    for_file, for_folder = (0o666, 0o777) if held else (0o600, 0o700)
    for parent, _, names in os.walk(room):
        Path(parent).chmod(for_folder)
        for path in (Path(parent, name) for name in names):
            path.chmod((path.stat().st_mode & 0o111) | for_file)
    if needs.kind == "python":
        lines = [*needs.packages, *(["-r requirements.txt"] if needs.file else [])]
        listed = room / "work" / "requirements.triggerhub.txt"
        listed.write_text("".join(f"{line}\n" for line in lines))
        listed.chmod(for_file)


def _lay_out_words(needs: Needs, code: Path, work: Path) -> None:
    """Copy what an environment is named by, and nothing else that one of the functions that share it has."""
    work.mkdir()
    if needs.kind == "python":
        if needs.file:
            shutil.copyfile(code / "requirements.txt", work / "requirements.txt")
        return
    package = json.loads((code / "package.json").read_bytes().decode("utf-8-sig"))
    (work / "package.json").write_text(json.dumps(requirement.decisive(package)))
    for name in requirement.OF_NPM:
        if (code / name).is_file():
            shutil.copyfile(code / name, work / name)


def _command(needs: Needs, room: Path, path: str | None) -> list[str]:
    if needs.kind == "node":
        npm = _npm(path)
        if npm is None:
            raise ConfigError("npm is not installed here", hint="install it, or put node_modules into the folder")
        locked = (room / "work" / "package-lock.json").is_file()
        words = ["ci"] if locked else ["install", "--install-links", "--no-package-lock", "--no-save"]
        return [npm, *words, "--omit=dev", "--no-audit", "--no-fund", "--loglevel=http"]
    target = ["--target", str(room / "made"), "-r", "requirements.triggerhub.txt"]
    program = needs.program or sys.executable
    if uv := _uv(path):
        return [uv, "pip", "install", "--compile-bytecode", "--python", program, *target]
    if find_spec("pip") is None:
        hint = "install uv, or pip, into the hub's own environment"
        raise ConfigError("neither uv nor pip is installed here", hint=hint)
    options = ["--no-input", "--disable-pip-version-check", "--no-warn-script-location", "--root-user-action=ignore"]
    # The hub's own pip installs for another interpreter, which may have none.
    return [sys.executable, "-I", "-m", "pip", "--python", program, "install", *options, *target]


def _resolve_links(modules: Path) -> None:
    """Put packages of the function's own code, to which npm only links, in the place of their links."""
    work = modules.parent.resolve()
    for path in (*modules.glob("*"), *modules.glob("@*/*")):
        try:
            real = path.resolve()
        except RuntimeError:  # it leads to itself
            continue
        own = work / modules.name
        within = real.is_relative_to(work) and not real.is_relative_to(own) and not own.is_relative_to(real)
        if path.is_symlink() and within:
            _owned(real)
            path.unlink()
            shutil.copytree(real, path, symlinks=True)


def _publish(needs: Needs, draft: Path) -> None:
    """Make the result read-only, durable and visible, in this order. Raises ConfigError for what is none."""
    made, work = draft / "room" / "made", draft / "room" / "work"
    _real(made)
    if needs.kind == "node":
        _real(work)
        modules = work / "node_modules"
        modules.mkdir(exist_ok=True)
        _real(modules)
        _owned(modules)
        _resolve_links(modules)
        modules.rename(made / "node_modules")
    whole = draft / "whole"
    if _owned(made):
        made.rename(whole)
    else:
        # By another user, whose it shall not stay.
        shutil.copytree(made, whole, symlinks=True, copy_function=shutil.copy)
    for parent, _, names in os.walk(whole):
        for path in (Path(parent, name) for name in names):
            if not path.is_symlink():
                path.chmod(0o555 if path.stat().st_mode & 0o111 else 0o444)
        Path(parent).chmod(0o555)
    os.sync()
    whole.chmod(0o755)
    with suppress(OSError):
        # Another was first with the same content.
        whole.rename(needs.folder)
    needs.folder.chmod(0o555)


def _foreign(room: Path) -> bool:
    """Whether something in it is not this process's own, or may be: it is out of sight, or too deep for a look."""
    try:
        return not _owned(room)
    except (OSError, ConfigError):
        return True


def _real(folder: Path) -> None:
    if not stat.S_ISDIR(folder.lstat().st_mode):
        raise ConfigError(f"the installer left something else in the place of its folder {folder.name}")


def _owned(made: Path) -> bool:
    """Whether all of it is the hub's. Raises ConfigError for a device, a pipe or a socket in it, and for depths."""
    owned, left = True, [made]
    while left:
        folder = left.pop()
        if len(folder.parts) - len(made.parts) > _DEEPEST or len(os.fsencode(folder)) > _LONGEST:
            raise ConfigError(
                f"the installer left folders within one another, more than {_DEEPEST} or in a path of {_LONGEST} bytes"
            )
        for path in folder.iterdir():
            found = path.lstat()
            mine = found.st_uid == os.geteuid()
            if stat.S_ISDIR(found.st_mode):
                if mine:
                    # Nothing is kept from being looked at.
                    path.chmod(stat.S_IMODE(found.st_mode) | 0o700)
                left.append(path)
            elif not (stat.S_ISREG(found.st_mode) or stat.S_ISLNK(found.st_mode)):
                raise ConfigError(f"the installer left {path.name}, which is no file")
            owned = owned and mine
    return owned
