"""A host with something to lose: what attacks are let loose on, and what is looked at afterwards."""

from __future__ import annotations

import asyncio
import ctypes
import os
import secrets
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import threading
from collections.abc import AsyncGenerator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.runtimes.conftest import Lines, invocation
from triggerhub.model import Returned
from triggerhub.policy.sandbox.levels import Ability, Lack
from triggerhub.runtimes.launch import Launcher, Starter
from triggerhub.runtimes.probe import Findings
from triggerhub.runtimes.process import ProcessRuntime
from triggerhub.settings import MB, Function, Secret

HANDLERS = Path(__file__).parent / "handlers"
STARTER: Starter | None = None
"""What starts launchers, where that is to be shown."""
MARK = "attack-was-here"
TMP = 16 * MB
SOCKETS = ["datagrams.sock", "open.sock"]
"""What there is outside."""
OTHER = """
import os
def handler(event, context):
    with open(os.path.join(os.environ["TMPDIR"], "note"), "w") as note:
        note.write(os.environ["TOKEN"])
    return os.environ["TMPDIR"]
"""


@dataclass
class World:
    """Everything that is there beside the attackers."""

    root: Path
    token: str = field(default_factory=lambda: f"hub-secret-{secrets.token_hex(8)}")
    lines: Lines = field(default_factory=Lines)
    facts: dict[str, Any] = field(default_factory=dict)
    """What the attackers are told."""
    victim: int = 0
    runtime: ProcessRuntime | None = None

    @property
    def code(self) -> Path:
        return self.root / "code"

    @property
    def data(self) -> Path:
        return self.root / "project" / "var"

    @property
    def outside(self) -> Path:
        return self.root / "outside"

    def attacker(self, level: str, **settings: Any) -> Function:
        values = {"memory": 128 * MB, "timeout": 60_000, "tmp": TMP, "read": (self.root / "shared",), **settings}
        return Function(
            name="attacker", runtime="python", handler="app.handler", code=self.code, version="a", level=level, **values
        )

    def damage(self) -> list[str]:
        """Return what is not as it was."""
        found = []
        if (self.data / "secret").read_text() != self.token:
            found.append("the hub's secret was changed")
        try:
            with sqlite3.connect(self.data / "hub.db") as database:
                if database.execute("pragma integrity_check").fetchone() != ("ok",):
                    found.append("the database is corrupt")
                if database.execute("select token from t").fetchall() != [(self.token,)]:
                    found.append("the database was changed")
        except sqlite3.Error as error:
            found.append(f"the database: {error}")
        finally:
            database.close()
        if sorted(path.name for path in self.outside.iterdir()) != SOCKETS:
            found.append(f"files were made outside: {[path.name for path in self.outside.iterdir()]}")
        try:
            os.kill(self.victim, 0)
            # It began with this process's own, which need not be the usual.
            if os.getpriority(os.PRIO_PROCESS, self.victim) != os.getpriority(os.PRIO_PROCESS, 0):
                found.append("the hub was slowed")
        except OSError:
            found.append("the hub is gone")
        found += [f"a segment of shared memory was left: {line}" for line in segments() - self.facts["segments"]]
        return found

    def repair(self) -> None:
        """Take away what attacks at ``trusted`` left outside."""
        for path in self.outside.iterdir():
            if path.name not in SOCKETS:
                path.unlink()


def segments() -> set[str]:
    """Return the shared memory segments of this user's that are there; a test's neighbours may come and go."""
    with open("/proc/sysvipc/shm") as table:
        rows = [line.split() for line in table.readlines()[1:]]
    return {f"{row[1]} of {row[3]} bytes" for row in rows if int(row[3]) == 16 * MB}


def named(name: str) -> list[int]:
    """Return the living processes that call themselves *name*."""
    found = []
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open(f"/proc/{pid}/comm") as comm, open(f"/proc/{pid}/cmdline", "rb") as line:
                alike = comm.read().strip() == name or name.encode() in line.read().split(b"\0")
            with open(f"/proc/{pid}/stat") as stat:
                alive = stat.read().rpartition(")")[2].split()[0] not in "ZX"
        except OSError:
            continue
        if alike and alive:
            found.append(int(pid))
    return found


@contextmanager
def standing(root: Path) -> Iterator[World]:
    """Set up the host's files, a process that stands for the hub, and servers."""
    world = World(root)
    root.mkdir(parents=True, exist_ok=True)
    root.chmod(0o755)
    for folder, mode in (
        (world.data, 0o700),
        (world.outside, 0o777),
        (root / "shared", 0o777),
        (root / "scratch", 0o700),
    ):
        folder.mkdir(parents=True)
        folder.chmod(mode)
    shutil.copytree(HANDLERS, world.code, ignore=shutil.ignore_patterns("__pycache__"))
    (root / "other").mkdir()
    (root / "other" / "other.py").write_text(f"# {world.token}\n{OTHER}")
    (root / "project" / "triggerhub.toml").write_text("")
    (root / "shared" / "note").write_text("")
    (world.data / "secret").write_text(world.token)
    (world.data / "secret").chmod(0o600)
    with sqlite3.connect(world.data / "hub.db") as database:
        database.execute("create table t (token)")
        database.execute("insert into t values (?)", [world.token])
    database.close()
    setuid = ""
    if os.geteuid() == 0:
        setuid = str(world.code / "rise")
        shutil.copy("/bin/sleep", setuid)
        os.chmod(setuid, 0o4755)
    word = f"victim-{secrets.token_hex(6)}"
    with subprocess.Popen(
        [sys.executable, "-I", "-S", "-c", "import time; time.sleep(3600)", word],
        env={"HUB_SECRET": world.token},
        cwd=world.data,
        stdin=subprocess.DEVNULL,
        start_new_session=True,
    ) as victim:
        try:
            world.victim = victim.pid
            master, slave = os.openpty()
            with servers(world) as ports, messages() as queues:
                world.facts = {
                    **ports,
                    **queues,
                    "token": world.token,
                    "secret": str(world.data / "secret"),
                    "database": str(world.data / "hub.db"),
                    "data": str(world.data),
                    "project": str(root / "project"),
                    "outside": str(world.outside),
                    "shared": str(root / "shared"),
                    "others_code": str(root / "other"),
                    "victim": victim.pid,
                    "victim_group": victim.pid,
                    "victim_word": word,
                    "terminal": os.ttyname(slave),
                    "home": os.path.expanduser("~"),
                    "home_names": os.listdir(os.path.expanduser("~")),
                    "hostname": os.uname().nodename,
                    "other_uid": 12_345,
                    "setuid": setuid,
                    "tmp": TMP,
                    "inodes": max(TMP // 16384, 1024),
                    "segments": segments(),
                }
                yield world
            os.close(master)
            os.close(slave)
        finally:
            victim.send_signal(signal.SIGKILL)


@contextmanager
def messages() -> Iterator[dict[str, Any]]:
    """Keep what processes speak by without a path: queues, a semaphore and shared memory that are open to all."""
    libc = ctypes.CDLL(None)
    queue, key = f"/hub-{secrets.token_hex(6)}", secrets.randbelow(2**30) + 1
    before = os.umask(0)
    end = libc.mq_open(queue.encode(), os.O_RDWR | os.O_CREAT, 0o666, None)
    os.umask(before)
    semaphore = libc.semget(key, 1, 0o1666)
    segment, letters = libc.shmget(key, 4096, 0o1666), libc.msgget(key, 0o1666)
    assert min(end, semaphore, segment, letters) >= 0
    try:
        yield {
            "queue": queue,
            "semaphore": key,
            "semaphore_number": semaphore,
            "segment": segment,
            "message_queue": letters,
        }
    finally:
        libc.shmctl(segment, 0, 0)
        libc.msgctl(letters, 0, 0)
        os.close(end)
        libc.mq_unlink(queue.encode())
        libc.semctl(semaphore, 0, 0)


@asynccontextmanager
async def peopled(world: World, level: str) -> AsyncGenerator[World]:
    """Add a runtime, and another function's worker that has secrets of its own.

    A host gives what is asked to be isolated, or confined, the strongest level that it can: here it does not.
    """
    launcher = Launcher(STARTER)
    if level != "contained":
        left_out = (Ability.GROUPS, Ability.SANDBOX) if level == "confined" else (Ability.GROUPS,)
        launcher.findings = Findings(lacks=dict.fromkeys(left_out, Lack(found="left out", remedy="")))
    world.runtime = ProcessRuntime(world.lines, world.root / "scratch", launcher=launcher)
    other = Function(
        name="other",
        runtime="python",
        handler="other.handler",
        code=world.root / "other",
        version="o",
        level=level,
        env={"TOKEN": Secret(world.token), "UNSAID": Secret(f"unsaid-{secrets.token_hex(8)}")},
    )
    async with AsyncExitStack() as stack:
        worker = await stack.enter_async_context(world.runtime.start(other))
        outcome = await worker.invoke(invocation(function=other))
        assert isinstance(outcome, Returned), outcome
        tmp = outcome.payload.decode().strip('"')
        world.facts |= {"worker": worker.pid, "others_tmp": tmp, "level": level}
        yield world


@contextmanager
def servers(world: World) -> Iterator[dict[str, Any]]:
    """Listen in every way that a neighbour does; each greets whoever comes."""
    abstract = f"hub-{secrets.token_hex(6)}"
    tcp = socket.create_server(("127.0.0.1", 0))
    tcp6 = socket.create_server(("::1", 0), family=socket.AF_INET6)
    everywhere = socket.create_server(("", 0))
    private, public, hidden = (socket.socket(socket.AF_UNIX) for _ in range(3))
    for listener, place in ((private, world.data / "hub.sock"), (public, world.outside / "open.sock")):
        listener.bind(os.path.relpath(place))
        place.chmod(0o666)
    datagrams = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    datagrams.bind(os.path.relpath(world.outside / "datagrams.sock"))
    (world.outside / "datagrams.sock").chmod(0o666)
    hidden.bind("\0" + abstract)
    udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    udp.bind(("127.0.0.1", 0))
    listeners = [tcp, tcp6, everywhere, private, public, hidden]
    stop = threading.Event()
    threads = [threading.Thread(target=greet, args=(listener, stop)) for listener in (*listeners, udp)]
    for thread in threads:
        thread.start()
    try:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
            try:
                probe.connect(("192.0.2.1", 9))
                address = probe.getsockname()[0]
            except OSError:
                address = "127.0.0.2"
        yield {
            "tcp": tcp.getsockname()[1],
            "tcp6": tcp6.getsockname()[1],
            "tcp_any": everywhere.getsockname()[1],
            "udp": udp.getsockname()[1],
            "unix": str(world.data / "hub.sock"),
            "unix_open": str(world.outside / "open.sock"),
            "unix_datagrams": str(world.outside / "datagrams.sock"),
            "abstract": abstract,
            "address": address,
        }
    finally:
        stop.set()
        for thread in threads:
            thread.join()
        for one in (*listeners, udp, datagrams):
            one.close()


def greet(listener: socket.socket, stop: threading.Event) -> None:
    if listener.type == socket.SOCK_STREAM:
        listener.listen()
    listener.settimeout(0.05)
    while not stop.is_set():
        try:
            if listener.type == socket.SOCK_DGRAM:
                _, peer = listener.recvfrom(10)
                listener.sendto(b"hello", peer)
            else:
                with listener.accept()[0] as client:
                    client.sendall(b"hello")
        except OSError:
            continue


async def settle(condition: Any, within: float) -> bool:
    """Wait until *condition* holds; return whether it did in time."""
    end = asyncio.get_running_loop().time() + within
    while not condition():
        if asyncio.get_running_loop().time() > end:
            return False
        await asyncio.sleep(0.01)
    return True
