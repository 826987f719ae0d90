"""Give up root before anybody is listened to, and keep of it only what makes sandboxes.

A hub that root started and that is to be another user starts a keeper, which stays root, and becomes that user for
good. The keeper starts launchers, as often as one dies; what it may do for the hub is fixed before the hub listens.
"""

from __future__ import annotations

import contextlib
import os
import pwd
import shlex
import socket
import subprocess
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from triggerhub.errors import ConfigError
from triggerhub.runtimes import installation, launch, sandbox
from triggerhub.runtimes.groups import Groups, NoGroups
from triggerhub.runtimes.launcher import confine, floor
from triggerhub.runtimes.launcher.plan import FIRST_UID, MAX, UIDS
from triggerhub.settings import Function

_OF_ROOT = ("XDG_RUNTIME_DIR", "XDG_CONFIG_HOME", "XDG_CACHE_HOME", "XDG_DATA_HOME", "XDG_STATE_HOME")
"""Variables that name folders of whom the hub is no longer."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Account:
    """Whom the hub becomes."""

    name: str
    uid: int
    gid: int
    home: str
    shell: str


def account(name: str) -> Account:
    """Return the user that a hub is to be. Raises ConfigError where this process cannot become that, or must not."""
    try:
        found = pwd.getpwnam(name)
    except KeyError:
        raise ConfigError(
            f'there is no user "{name}" on this machine', hint=f"make one: useradd --system {shlex.quote(name)}"
        ) from None
    if found.pw_uid == 0:
        raise ConfigError(f'"{name}" is root, which is what the hub gives up', hint="name an ordinary user")
    if FIRST_UID <= found.pw_uid < FIRST_UID + UIDS:
        raise ConfigError(
            f'"{name}" has the uid {found.pw_uid}, one of those of functions, {FIRST_UID} to {FIRST_UID + UIDS - 1}',
            hint="name a user with another uid",
        )
    own = os.geteuid()
    if own not in (0, found.pw_uid):
        raise ConfigError(
            f'the hub is {_name(own)}\'s, who cannot become "{name}"',
            hint=f"start it as root or as {name}, or leave user out",
        )
    return Account(
        name=found.pw_name, uid=found.pw_uid, gid=found.pw_gid, home=found.pw_dir, shell=found.pw_shell or "/bin/sh"
    )


class Keeper:
    """The process that stays root; made by root, before :func:`become`."""

    root = True

    def __init__(self, groups: Iterable[Path] = (), *, uid: int) -> None:
        """*groups* are the folders of control groups that were given to *uid*, the hub's own. Raises OSError."""
        self._groups = tuple(map(str, groups))
        self._uid = uid
        self._allowed = False
        self._control, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            self._process = launch.execute(theirs, "keep")

    @property
    def pid(self) -> int:
        return self._process.pid

    def allow(self, functions: Iterable[Function] = (), own: Sequence[Path] = (), shown: Iterable[str] = ()) -> None:
        """Fix what sandboxes may show: what all are made of, what these functions name, and *shown*.

        *own* are the hub's folders, which may be shown to be changed, too: it can change them itself. Only the first
        call counts; without one, a launcher that is started shows nothing of any function's.
        """
        if self._allowed:
            return
        self._allowed = True
        apart = installation.private(own)
        read = [*sandbox.of_host(), *installation.python(apart), str(launch.BOOTSTRAP.parent)]
        read += shown
        write = [*map(str, own)]
        # As the configuration had them resolved: what a handler put there since is not followed.
        named, changed = list[str](), list[str]()
        for one in functions:
            links = dict(one.links)
            named += (str(links.get(path, path)) for path in (*one.read, *one.shown))
            read.append(str(one.code))
            read += map(str, (path for path in (one.opt, one.needs and one.needs.folder) if path))
            if one.interpreter and one.interpreter.program:
                read += installation.of_program(one.interpreter.program, apart, one.interpreter.folders)
            changed += (str(links.get(path, path)) for path in one.write)
        filters = tuple(sandbox.seccomp(soft=soft) for soft in (True, False))
        shown, written = (*_real(read), *named), (*_real(write), *changed)
        held = floor.Floor(uid=self._uid, read=shown, write=written, groups=self._groups, filters=filters)
        packet = floor.encode(held)
        if len(packet) > MAX:
            raise ConfigError("functions name too many paths", hint="let sandbox.read and sandbox.write name folders")
        self._control.send(packet)

    def start(self, theirs: socket.socket) -> Kept:
        """Start a launcher at the other end of *theirs*. Raises OSError where the keeper is gone."""
        try:
            self.allow()
            socket.send_fds(self._control, [b"start"], [theirs.fileno()])
        except OSError as error:
            raise OSError("what kept root for the launcher of sandboxes has ended") from error
        return Kept()

    def close(self) -> None:
        """Let go of root for good; launchers that still run go on until their sockets are closed."""
        self._control.close()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(5)


class Kept:
    """A launcher that a keeper started, as a process is to ``launch``: it is root's, and ends with its socket."""

    def __init__(self) -> None:
        self.pid: int | None = None
        """Known once it is ready."""

    def kill(self) -> None: ...

    def wait(self) -> None: ...


def become(chosen: Account) -> Keeper:
    """Be *chosen* from now on, with no privilege and no way to any; return what still is root.

    Call it before a second thread, a loop or a port is there. Raises ConfigError where the kernel does not let root.
    """
    groups: tuple[Path, ...] = ()
    with contextlib.suppress(NoGroups, OSError):  # what that means for functions is said where it is found out
        groups = Groups.find(chosen.uid).give(chosen.uid, chosen.gid)
    try:
        keeper = Keeper(groups, uid=chosen.uid)
        try:
            os.setgroups(os.getgrouplist(chosen.name, chosen.gid))
            confine.surrender(chosen.uid, chosen.gid)
        except BaseException:
            keeper.close()
            raise
    except OSError as error:
        raise ConfigError(
            f'root may not become "{chosen.name}" here: {error.strerror}',
            hint="let it change its user (CAP_SETUID, CAP_SETGID, CAP_SETPCAP), or leave [hub] user out",
        ) from error
    os.environ.update(HOME=chosen.home, USER=chosen.name, LOGNAME=chosen.name, SHELL=chosen.shell)
    for name in _OF_ROOT:
        os.environ.pop(name, None)
    return keeper


def reachable(name: str, project: Path, *programs: str) -> None:
    """Raise ConfigError, with the command that mends it, where this process cannot read what it is to run on.

    *programs* are folders of the hub's own code.
    """
    for place in map(Path, programs):
        for folder in (*reversed(place.parents), place):
            if not os.access(folder, os.X_OK):
                raise ConfigError(
                    f'the hub\'s own program in {place} is out of reach for "{name}", who cannot enter {folder}',
                    hint="install triggerhub where every user can read it, such as /opt/triggerhub",
                )
    for folder in reversed(project.parents):
        if not os.access(folder, os.X_OK):
            raise ConfigError(
                f'hub.user: "{name}" cannot enter {folder}, and the project is in it',
                hint=f"chmod a+x {shlex.quote(str(folder))}, or move the project",
            )
    if not os.access(project, os.R_OK | os.X_OK):
        raise ConfigError(f'hub.user: "{name}" cannot enter {project}', hint=owning(name, project))
    for path in (project / "triggerhub.toml", project / "handlers"):
        if path.exists() and not os.access(path, os.R_OK | (os.X_OK if path.is_dir() else 0)):
            raise ConfigError(f'hub.user: "{name}" cannot read {path}', hint=owning(name, path))


def owning(name: str, path: Path) -> str:
    """Return the command that gives *path*, and what is in it, to a user."""
    return f"chown -R {shlex.quote(name)}: {shlex.quote(str(path))}"


def _real(paths: Iterable[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(os.path.realpath(path) for path in paths))


def _name(uid: int) -> str:
    with contextlib.suppress(KeyError):
        return pwd.getpwuid(uid).pw_name
    return f"uid {uid}"
