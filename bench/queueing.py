"""Enqueue and run no-op tasks as others do, each with a sync to the disk per accepted task.

A measure is of :data:`TASKS` tasks with 1 KB each, from the first one enqueued until the last one has run.
The producer of an asynchronous client keeps 64 calls in flight, that of a blocking one makes them in turn.
"""

from __future__ import annotations

import os
import pwd
import shutil
import sqlite3
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

from bench.peers import WORKERS, Skipped, environment, program, running, version
from tests.e2e.daemon import until
from tests.e2e.ports import free_port

TASKS = 5_000

HUEY = """
from huey import SqliteHuey

huey = SqliteHuey(filename="huey.db", fsync=True)

@huey.task()
def echo(body):
    return {"ok": True}
"""
TASKIQ = """
from taskiq_redis import RedisStreamBroker

broker = RedisStreamBroker("redis://127.0.0.1:PORT")

@broker.task
async def echo(body):
    return {"ok": True}
"""
CELERY = """
from celery import Celery

app = Celery("tasks", broker="redis://127.0.0.1:PORT/0")
app.conf.update(task_ignore_result=True, broker_connection_retry_on_startup=True, worker_hijack_root_logger=False)

@app.task
def echo(body):
    return {"ok": True}
"""
PROCRASTINATE = """
from procrastinate import App, PsycopgConnector

app = App(connector=PsycopgConnector(conninfo="host=127.0.0.1 port=PORT user=bench dbname=postgres"))

@app.task(name="echo")
async def echo(body):
    return {"ok": True}
"""
IN_TURN = """
import sys
from tasks import echo

for _ in range(int(sys.argv[1])):
    echo{call}("x" * 1000)
"""
AT_ONCE = """
import asyncio, sys
from tasks import *

async def main(count):
    free = asyncio.Semaphore(64)

    async def one():
        async with free:
            await {call}

    {enter}
    await asyncio.gather(*(one() for _ in range(count)))
    {leave}

asyncio.run(main(int(sys.argv[1])))
"""


class Queue(Protocol):
    """A queue of tasks with its producer and its workers."""

    name: str

    def measure(self, folder: Path) -> float:
        """Return tasks a second, in a new *folder*. Raises Skipped."""
        ...


def _measured(folder: Path, python: Path, worker: list[str], left: Callable[[], int]) -> float:
    began = time.monotonic()
    subprocess.run([python, "load.py", str(TASKS)], cwd=folder, check=True, capture_output=True, timeout=300)
    with running([python, "-m", *worker], lambda: True, cwd=folder, env={"C_FORCE_ROOT": "1"}):
        until(lambda: left() == 0, f"{worker[0]} has run its tasks", 300)
        return TASKS / (time.monotonic() - began)


def _write(folder: Path, tasks: str, load: str, port: int = 0) -> None:
    (folder / "tasks.py").write_text(tasks.replace("PORT", str(port)))
    (folder / "load.py").write_text(load)


class Huey:
    """huey on SQLite with a sync per commit."""

    def __init__(self) -> None:
        """Raises Skipped."""
        self._python = environment("huey", "huey")
        self.name = f"huey {version(self._python, 'huey')} (SQLite, fsync)"

    def measure(self, folder: Path) -> float:
        folder.mkdir()
        _write(folder, HUEY, IN_TURN.format(call=""))
        worker = ["huey.bin.huey_consumer", "tasks.huey", "-w", str(WORKERS), "-q"]
        return _measured(folder, self._python, worker, lambda: self._left(folder))

    @staticmethod
    def _left(folder: Path) -> int:
        db = sqlite3.connect(f"file:{folder / 'huey.db'}?mode=ro", uri=True)
        try:
            return int(db.execute("SELECT count(*) FROM task").fetchone()[0])
        finally:
            db.close()


class Redis:
    """A Redis server that syncs before it answers, and what is asked of it."""

    def __init__(self, port: int) -> None:
        self.port = port
        self._ask = [program("redis-cli", package="redis-tools"), "-p", str(port)]

    @classmethod
    @contextmanager
    def open(cls, folder: Path) -> Iterator[Redis]:
        """Raises Skipped."""
        redis = cls(free_port())
        server = [program("redis-server"), "--port", str(redis.port), "--bind", "127.0.0.1", "--dir", str(folder)]
        durable = ["--appendonly", "yes", "--appendfsync", "always", "--save", ""]
        with running([*server, *durable], lambda: redis.says("ping") == "PONG", cwd=folder):
            yield redis

    def says(self, *words: str) -> str:
        """Return the answer to a command."""
        return subprocess.run([*self._ask, *words], capture_output=True, text=True, timeout=30).stdout.strip()


class Taskiq:
    """taskiq on a Redis stream, acknowledged after each task."""

    def __init__(self) -> None:
        """Raises Skipped."""
        program("redis-server")
        self._python = environment("taskiq", "taskiq", "taskiq-redis")
        self.name = f"taskiq {version(self._python, 'taskiq')} (Redis stream, appendfsync always)"

    def measure(self, folder: Path) -> float:
        folder.mkdir()
        with Redis.open(folder) as redis:
            enter, leave = "await broker.startup()", "await broker.shutdown()"
            load = AT_ONCE.format(call="echo.kiq('x' * 1000)", enter=enter, leave=leave)
            _write(folder, TASKIQ, load, redis.port)
            worker = ["taskiq", "worker", "tasks:broker", "--workers", str(WORKERS), "--log-level", "ERROR"]
            return _measured(folder, self._python, worker, lambda: self._left(redis))

    @staticmethod
    def _left(redis: Redis) -> int:
        words = redis.says("xinfo", "groups", "taskiq").split()
        facts = dict(zip(words[::2], words[1::2], strict=False))
        waits = facts.get("lag", "1")
        return int(facts.get("pending", "1")) + int(waits if waits.isdigit() else 1)


class Celery:
    """Celery on a Redis list."""

    def __init__(self) -> None:
        """Raises Skipped."""
        program("redis-server")
        self._python = environment("celery", "celery[redis]")
        self.name = f"celery {version(self._python, 'celery')} (Redis, appendfsync always)"

    def measure(self, folder: Path) -> float:
        folder.mkdir()
        with Redis.open(folder) as redis:
            _write(folder, CELERY, IN_TURN.format(call=".delay"), redis.port)
            worker = ["celery", "-A", "tasks", "worker", "-c", str(WORKERS), "--loglevel", "ERROR"]
            return _measured(folder, self._python, worker, lambda: self._left(redis))

    @staticmethod
    def _left(redis: Redis) -> int:
        return int(redis.says("llen", "celery") or 1) + int(redis.says("hlen", "unacked") or 1)


class Procrastinate:
    """Procrastinate on PostgreSQL with its defaults, which sync each commit."""

    def __init__(self) -> None:
        """Raises Skipped."""
        self._tools = {
            name: program(name, package="postgresql") for name in ("initdb", "postgres", "psql", "pg_isready")
        }
        self._python = environment("procrastinate", "procrastinate", "psycopg[binary,pool]")
        self._user = "postgres" if os.geteuid() == 0 else pwd.getpwuid(os.geteuid()).pw_name
        self.name = f"procrastinate {version(self._python, 'procrastinate')} (PostgreSQL)"

    def measure(self, folder: Path) -> float:
        folder.mkdir()
        with self._database(folder) as port:
            enter, leave = "await app.open_async()", "await app.close_async()"
            load = AT_ONCE.format(call="echo.defer_async(body='x' * 1000)", enter=enter, leave=leave)
            _write(folder, PROCRASTINATE, load, port)
            schema = [self._python, "-m", "procrastinate", "--app", "tasks.app", "schema", "--apply"]
            subprocess.run(schema, cwd=folder, check=True, capture_output=True, timeout=60)
            worker = ["procrastinate", "--app", "tasks.app", "worker", "--concurrency", str(WORKERS)]
            return _measured(folder, self._python, worker, lambda: self._left(folder))

    @contextmanager
    def _database(self, folder: Path) -> Iterator[int]:
        home, port = folder / "postgres", free_port()
        home.mkdir()
        try:
            for one in (folder, folder.parent):  # both are the bench's own; the server's user has to get through
                one.chmod(0o755)
            shutil.chown(home, self._user)
            made = [self._tools["initdb"], "-D", str(home), "-U", "bench", "--auth", "trust"]
            subprocess.run(made, check=True, capture_output=True, timeout=120, user=self._user, cwd=home)
        except (OSError, LookupError, subprocess.SubprocessError) as error:
            raise Skipped(f"no PostgreSQL database can be made here: {error}") from error
        server = [
            self._tools["postgres"],
            "-D",
            str(home),
            "-p",
            str(port),
            "-c",
            "listen_addresses=127.0.0.1",
            "-k",
            str(home),
        ]
        ready = [self._tools["pg_isready"], "-h", "127.0.0.1", "-p", str(port)]
        self._count = [
            self._tools["psql"], "-h", "127.0.0.1", "-p", str(port), "-U", "bench", "postgres",
            "-Atc", "SELECT count(*) FROM procrastinate_jobs WHERE status IN ('todo', 'doing')",
        ]  # fmt: skip
        with running(server, lambda: _done(ready), cwd=home, user=self._user):
            yield port

    def _left(self, folder: Path) -> int:
        return int(subprocess.run(self._count, capture_output=True, text=True, timeout=30, cwd=folder).stdout or 1)


def _done(command: list[str]) -> bool:
    return subprocess.run(command, capture_output=True, timeout=30).returncode == 0


QUEUES: tuple[type[Queue], ...] = (Huey, Taskiq, Celery, Procrastinate)
