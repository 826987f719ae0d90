"""Put the hub together: the only module that names concrete adapters."""

from __future__ import annotations

import asyncio
import gc
import os
import socket
import sys
import time
from collections.abc import AsyncGenerator, Callable, Collection, Coroutine, Generator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import IO, Any, NoReturn

import anyio
import structlog
from anyio import from_thread

import triggerhub
from triggerhub import ids
from triggerhub.aws import arn
from triggerhub.config import document, interpreters
from triggerhub.config.earlier import Earlier
from triggerhub.config.load import ENVIRONMENTS, FILE, LAYERS, VERSIONS, Loaded, load
from triggerhub.config.problem import render
from triggerhub.config.rest import settled
from triggerhub.deploy.registry import Registry
from triggerhub.deploy.sweep import sweeping
from triggerhub.errors import ConfigError, NotFound, TriggerhubError
from triggerhub.hub.call import Answered, Caller, Tap
from triggerhub.hub.canaries import Canaries
from triggerhub.hub.clock import SystemClock
from triggerhub.hub.feed import Feed
from triggerhub.hub.hub import Hub
from triggerhub.hub.pool import Pool
from triggerhub.hub.reload import watch_project
from triggerhub.hub.signals import heed, notify, watchdog
from triggerhub.hub.supervise import innermost
from triggerhub.hub.veil import Veil
from triggerhub.hub.versions import FolderVersions
from triggerhub.model import Invocation
from triggerhub.policy.sandbox.levels import Ability, Lack
from triggerhub.runtimes import dependencies, installation, layers, privilege, probe, snapshot
from triggerhub.runtimes.dependencies import Environments
from triggerhub.runtimes.hygiene import harden
from triggerhub.runtimes.launch import Launcher
from triggerhub.runtimes.privilege import Keeper
from triggerhub.runtimes.process import ProcessRuntime
from triggerhub.runtimes.sandbox import Planner
from triggerhub.runtimes.snapshot import remove_tree
from triggerhub.settings import HubSettings, Project
from triggerhub.store import Store
from triggerhub.stores import backup as archives
from triggerhub.stores import migrate as migrations
from triggerhub.stores.backup import Restored
from triggerhub.stores.fault import translate
from triggerhub.stores.lock import locked
from triggerhub.stores.sqlite import open_store
from triggerhub.telemetry import journal, tracing
from triggerhub.telemetry.metrics import Metrics
from triggerhub.telemetry.output import OutputLog
from triggerhub.telemetry.tracing import Tracing
from triggerhub.web import address, admin
from triggerhub.web.ingress import Ingress
from triggerhub.web.lambda_api.doorway import Doorway
from triggerhub.web.limit import raise_descriptors
from triggerhub.web.tls import server_context

log = structlog.get_logger("hub")

Show = Callable[[Hub, Sequence[str], anyio.Event], Coroutine[Any, Any, None]]
"""Shows a person what happens, beginning with these warnings; the event says that the hub is to end. Runs until
cancelled."""
ANSWER = 1.0
"""Seconds beyond the drain in which a caller whose call was cut is told so."""


class BadProject(ConfigError):
    """The configuration has errors; ``rendered`` shows them all."""

    def __init__(self, loaded: Loaded) -> None:
        self.rendered = render(loaded.problems)
        super().__init__(self.rendered)


def run(folder: Path, *, show: Show | None = None, form: journal.Form | None = None) -> None:
    """Run the hub in the foreground until a signal ends it. Raises ConfigError before it starts.

    *form* is that of the log, where it is not to be the project's own; as ``text``, beside what *show* draws,
    the log begins at warnings and leaves out what is drawn.
    """
    os.umask(0o077)
    keeper = become(folder)
    read = time.time_ns()
    loaded = load(folder, environ=os.environ, versions=VERSIONS)
    if loaded.project is None:
        raise BadProject(loaded)
    settings = loaded.project.hub
    if keeper is not None:
        _allow(keeper, loaded.project)
    drawn = show is not None and form == "text"
    journal.configure("warning" if drawn else settings.log_level, form or settings.log_format, told=drawn)
    harden()
    raise_descriptors()
    # What is loaded by now stays: the collector need not look through it again and again, nor at every 700 objects.
    gc.freeze()
    gc.set_threshold(20_000, 20, 20)
    try:
        anyio.run(_run, loaded.project, loaded, show, read, keeper, backend_options={"use_uvloop": True})
    except BaseExceptionGroup as group:
        error = innermost(group)
        raise error if isinstance(error, TriggerhubError) else group from None
    finally:
        if keeper is not None:
            keeper.close()


def become(folder: Path) -> Keeper | None:
    """Be ``[hub] user`` from now on, where root started this process and the project names one; return what stays root.

    Everything else of the project is read as that user, its secrets and its own sources too. Raises ConfigError.
    """
    if os.geteuid() != 0:
        return None
    project = Path(os.path.abspath(folder))  # noqa: PTH100 - as it is loaded
    found = document.read(project / FILE, FILE)
    table = found.data.get("hub") if found is not None else None
    name = table.get("user") if isinstance(table, dict) else None
    if not isinstance(name, str):
        return None
    try:
        chosen = privilege.account(name)
    except ConfigError:
        return None  # said with its place by whoever loads the project
    keeper = privilege.become(chosen)
    try:
        privilege.reachable(name, project, sys.prefix, sys.base_prefix, str(Path(triggerhub.__file__).parent))
    except BaseException:
        keeper.close()
        raise
    return keeper


def _allow(keeper: Keeper, project: Project) -> None:
    """Fix what sandboxes may show: what the project names now, and what builds of dependencies read."""
    own = [project.hub.project, project.hub.data]
    # A function that the Lambda API makes later may name any interpreter that is here.
    apart = installation.private(own)
    named = [(one.program, one.folders) for one in interpreters.found(os.environ)]
    if node := interpreters.usual_node(os.environ):
        named.append((node, ()))
    shown = [part for program, folders in named for part in installation.of_program(program, apart, folders)]
    shown += dependencies.shown(os.environ, project.hub.data, apart)
    keeper.allow(project.functions.values(), own, shown)


async def _run(project: Project, loaded: Loaded, show: Show | None, read: int, keeper: Keeper | None) -> None:
    journal.attend(asyncio.get_running_loop())
    stop, running, hubs = anyio.Event(), anyio.Event(), list[Hub]()

    async def reload() -> None:
        if running.is_set() and not stop.is_set():
            await hubs[0].reload()

    try:
        async with anyio.create_task_group() as root:
            # From the beginning to the end: a start and a drain may take long.
            root.start_soon(heed, stop, root.cancel_scope, reload)
            root.start_soon(watchdog)
            try:
                async with started(project, loaded, keeper, made=hubs.append) as hub:
                    running.set()
                    root.start_soon(partial(watch_project, lambda: hub.project, reload, read=read))
                    if show is not None:
                        root.start_soon(show, hub, [str(problem) for problem in loaded.problems], stop)
                    notify("READY=1")
                    await stop.wait()
            finally:
                root.cancel_scope.cancel()
    finally:
        if any(hub.stuck for hub in hubs):
            _exit(sys.exc_info()[1])


def _exit(failed: BaseException | None) -> NoReturn:
    """End the process where a source does not end: all else is closed by now, and the loop would wait for it."""
    if failed is not None:
        log.critical("the hub fails", exc_info=failed)
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(1 if failed else 0)


@asynccontextmanager
async def started(
    project: Project, loaded: Loaded, keeper: Keeper | None = None, *, made: Callable[[Hub], None] | None = None
) -> AsyncGenerator[Hub]:
    """Start everything, from the store up to the sources; leaving ends it in the opposite order.

    *keeper* starts the launchers of sandboxes, where this process is no longer who may. *made* is told of the hub
    before it runs, since a start can be cut.
    """
    settings = project.hub
    tls = server_context(*settings.tls) if settings.tls else None
    for problem in loaded.problems:
        log.warning(str(problem), on_screen=True)
    traces = tracing.from_environment(os.environ, triggerhub.__version__)
    output = OutputLog(settings.data / "logs", keep=settings.keep)
    ingress, launcher, clock = Ingress(awaiting=True), Launcher(keeper), SystemClock()
    async with (
        open_store(settings.data, durability=settings.durability) as store,
        output.open(),
        tracing.sending(traces),
        launcher.held(start=any(function.level != "trusted" for function in project.functions.values())),
    ):
        registry = await _registry(store, settings)
        versions = FolderVersions(store, clock.now, Earlier(settings.data))
        lying = {function.code for function in project.functions.values()}
        project = await versions.begin(project)
        ends = _Ends(store=store, output=output, routes=ingress, launcher=launcher, tracing=traces, clock=clock)
        hub, runtime = _joined(project, loaded, registry, versions, ends)
        if made is not None:
            made(hub)
        canaries = Canaries(hub, registry, clock)
        with (
            address.held("hub.listen", *settings.listen) as listening,
            address.held("hub.admin", *settings.admin) as administering,
        ):
            _warn(project)
            # What a handler asks of AWS Lambda, it asks of this hub.
            ends.told["AWS_ENDPOINT_URL_LAMBDA"] = _url(administering[0])
            await _tidy(project, versions, lying)
            async with (
                admin.serve(
                    hub,
                    registry,
                    canaries,
                    host=settings.admin[0],
                    port=settings.admin[1],
                    socket=settings.data / "hub.sock",
                    held=administering,
                ) as port,
                hub.open(),
                runtime.levels.looked_at(lambda: hub.project.functions.values()),
                ingress.serve(Doorway(hub, registry).route()),
                ingress.listen(
                    *settings.listen,
                    tls=tls,
                    trusted_proxies=settings.trusted_proxies,
                    grace=settings.drain / 1000 + ANSWER,
                    sockets=listening,
                ) as listen,
            ):
                hub.addresses = {"listen": f"{settings.listen[0]}:{listen}", "admin": f"{settings.admin[0]}:{port}"}
                async with canaries.watching(), sweeping(registry, hub.folders), hub.sources():
                    ingress.complete()
                    counts = {"functions": len(project.functions), "triggers": len(project.triggers)}
                    log.info("ready", pid=os.getpid(), **counts, **hub.addresses)
                    yield hub


async def _registry(store: Store, settings: HubSettings) -> Registry:
    """Return what the Lambda API made before, loaded; layers that nothing of it needs are gone."""
    registry = Registry(
        store,
        settings.data / "functions",
        assemble=layers.assemble,
        project=settings.project,
        sync=settings.durability == "full",
    )
    await registry.load()
    opt = [function.opt for function in registry.served.values() if function.opt is not None]
    await anyio.to_thread.run_sync(layers.collect, registry.opt, opt)
    return registry


@dataclass(frozen=True, slots=True, kw_only=True)
class _Ends:
    """What the hub knows as protocols."""

    store: Store
    output: OutputLog
    routes: Ingress
    launcher: Launcher
    tracing: Tracing | None
    clock: SystemClock
    told: dict[str, str] = field(default_factory=dict)
    """Variables that workers get besides their own; to be filled before the first starts."""


def _joined(
    project: Project, loaded: Loaded, registry: Registry, versions: FolderVersions, ends: _Ends
) -> tuple[Hub, ProcessRuntime]:
    """Return the hub and its runtime, each of which speaks to the other; what is deployed goes to the hub."""
    runtimes = list[ProcessRuntime]()

    def made(tap: Tap) -> ProcessRuntime:
        scratch = project.hub.data / "tmp"
        runtimes.append(
            ProcessRuntime(
                tap,
                scratch,
                node=interpreters.usual_node(os.environ),
                more=ends.told,
                launcher=ends.launcher,
                found=lambda: hub.weigh(),
                project=project.hub.project,
            )
        )
        return runtimes[0]

    hub = Hub(
        project,
        {**registry.mappings.modules, **loaded.sources},
        store=ends.store,
        runtime=made,
        output=ends.output,
        routes=ends.routes,
        environments=Environments(lambda function: runtimes[0].enclosed(function), project=project.hub.project),
        tracing=ends.tracing,
        read=lambda: _read(project.hub.project),
        deployed=registry.served,
        mapped=registry.mappings.triggers,
        versions=versions,
        clock=ends.clock,
    )
    journal.hide_by(hub.veil.text)
    registry.serve_by(hub.deploy)
    registry.mappings.serve_by(hub.map)
    return hub, runtimes[0]


def _warn(project: Project) -> None:
    """Say what is less safe than it could be."""
    if os.geteuid() == 0:
        log.warning("the hub is root and stays it: [hub] user names whom it shall become", on_screen=True)
    if trusted := [one.name for one in project.functions.values() if one.level == "trusted"]:
        log.warning("functions run unisolated, at level trusted", functions=", ".join(trusted), on_screen=True)


async def _tidy(project: Project, versions: FolderVersions, lying: Collection[Path]) -> None:
    """Remove copies of code that nothing runs and nobody goes back to, and what only they needed.

    *lying* is the code of what lies in the handlers folder. Under the lock of the store nobody else's are there.
    """
    await versions.prune()
    data, functions = project.hub.data, project.functions.values()
    kept = versions.folders().union(lying)
    layered = {function.opt for function in functions if function.opt}
    needed = {function.needs.folder for function in functions if function.needs}
    await anyio.to_thread.run_sync(snapshot.collect, data / VERSIONS, kept)
    await anyio.to_thread.run_sync(layers.collect, data / LAYERS, kept | layered)
    await anyio.to_thread.run_sync(dependencies.collect, data / ENVIRONMENTS, kept | needed)


def _url(listening: socket.socket) -> str:
    """Return how a process of this machine reaches what listens."""
    host, port = listening.getsockname()[:2]
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def lacks(keeper: Keeper | None = None) -> Mapping[Ability, Lack]:
    """Find out what this host lacks for isolation, in throw-away sandboxes. Runs a loop of its own."""

    async def look() -> Mapping[Ability, Lack]:
        return (await probe.look(Launcher(keeper), Planner())).lacks

    return anyio.run(look)


def _read(folder: Path) -> tuple[Project | None, Mapping[str, ModuleType], Sequence[str]]:
    try:
        loaded = settled(folder / FILE, lambda: load(folder, environ=os.environ, versions=VERSIONS))
    except ConfigError as error:
        return None, {}, [error.message]
    except Exception as error:  # whatever lies in the folder now, what runs goes on
        log.exception("the project cannot be read")
        return None, {}, [f"the project cannot be read: {type(error).__name__}: {error}"]
    return loaded.project, loaded.sources, [str(problem) for problem in loaded.problems]


def backup(data: Path) -> Generator[bytes]:
    """Yield the archive of a data folder that no hub uses. NotFound, HubLocked."""
    _database(data)
    journal.configure("error", "text")
    with (
        from_thread.start_blocking_portal() as portal,
        portal.wrap_async_context_manager(open_store(data)) as store,
        portal.wrap_async_context_manager(store.backup()) as pieces,
    ):
        yield from pieces


def restore(data: Path, source: IO[bytes]) -> Restored:
    """Put an archive in the place of what a data folder holds. ConfigError, HubLocked."""
    return archives.restore(source, data, stamp=f"{datetime.now(UTC):%Y%m%dT%H%M%SZ}")


def migrate(data: Path) -> tuple[int, int]:
    """Bring the database of a data folder that no hub uses to this version's schema; return both.

    NotFound, HubLocked.
    """
    path = _database(data)
    with locked(data):
        return migrations.upgrade(path)


def _database(data: Path) -> Path:
    """Return where a data folder's database is. NotFound; StoreBroken where one may not look."""
    path = data / "hub.db"
    try:
        there = path.exists()
    except OSError as error:
        raise translate(error) from error
    if not there:
        raise NotFound(f"there is no database in {data}", hint="A hub makes it when it starts: triggerhub run")
    return path


def invoke_local(folder: Path, function: str, payload: bytes) -> Answered:
    """Run one function in this process's own runtime: no hub, no store, no queue."""
    keeper = become(folder)
    loaded = load(folder, environ=os.environ, versions=VERSIONS)
    if loaded.project is None:
        raise BadProject(loaded)
    if keeper is not None:
        _allow(keeper, loaded.project)
    journal.configure("error", "text")
    return anyio.run(_invoke_local, loaded.project, function, payload, keeper, backend_options={"use_uvloop": True})


async def _invoke_local(project: Project, name: str, payload: bytes, keeper: Keeper | None) -> Answered:
    function = project.functions.get(name)
    if function is None:
        raise NotFound(f"no function {name!r}", hint=f"This project has: {', '.join(sorted(project.functions))}.")
    clock, lines = SystemClock(), _Lines()
    request_id = ids.event_id(clock.now(), 0, int.from_bytes(os.urandom(6), "big"))
    hide = Veil(lambda: project).text
    tap = Tap(lines, Feed(), clock, Metrics(), hide)
    # A folder of its own: a runtime empties its folder at the start, and several such calls may run at once.
    scratch = project.hub.data / "local" / request_id
    runtime = ProcessRuntime(
        tap,
        scratch,
        node=interpreters.usual_node(os.environ),
        launcher=Launcher(keeper),
        data=project.hub.data,
        project=project.hub.project,
    )
    pool = Pool(runtime, clock)
    try:
        await Environments(runtime.enclosed, project=project.hub.project).build(function)
        async with pool.open():
            invocation = Invocation(
                request_id=request_id, function=name, payload=payload, deadline=0, arn=arn.function(name)
            )
            with tap.lines(request_id) as log_lines:
                outcome, version = await Caller(pool, tap, clock, Metrics(), hide=hide).call(function, invocation)
    finally:
        remove_tree(scratch)
    return Answered(request_id=request_id, outcome=outcome, version=version, log=tuple(log_lines))


class _Lines:
    """An Output that keeps nothing: the tap has what the caller wants."""

    def write(self, function: object, request_id: str | None, stream: str, text: str) -> None: ...
