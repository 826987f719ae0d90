"""Hold a project as the running hub sees it: plain frozen values, compared by equality on reload."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from triggerhub.model import Json, Millis

SECOND: Millis = 1000
MINUTE: Millis = 60 * SECOND
HOUR: Millis = 60 * MINUTE
DAY: Millis = 24 * HOUR
KB = 1024
MB = 1024 * KB
GB = 1024 * MB


Reuse = Literal["warm", "fork", "fresh"]
"""What the next call of a function meets: the same process, a new fork of it, or a new sandbox."""
Level = Literal["contained", "isolated", "confined", "trusted"]

Network = bool | Literal["host"] | tuple[str, ...]
"""How a handler is kept from everything else; from the strongest to none."""
SystemLevel = Literal["DEBUG", "INFO", "WARN"]
"""How grave the hub's own lines of calls are."""


class Secret:
    """A secret's value, kept out of every repr, log line and JSON answer."""

    __slots__ = ("_value",)

    def __init__(self, value: str) -> None:
        self._value = value

    def reveal(self) -> str:
        """Return the value; the one way to it, so that each use can be found."""
        return self._value

    def __repr__(self) -> str:
        return "Secret(***)"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and other._value == self._value

    def __hash__(self) -> int:
        return hash(self._value)


@dataclass(frozen=True, slots=True, kw_only=True)
class Rate:
    """At most ``count`` per ``per`` milliseconds."""

    count: int
    per: Millis


@dataclass(frozen=True, slots=True, kw_only=True)
class RetryPolicy:
    """When and how often a failed delivery is tried again."""

    attempts: int = 3
    backoff: Literal["exponential", "linear", "constant"] = "exponential"
    initial: Millis = SECOND
    max: Millis = 5 * MINUTE
    jitter: bool = True
    max_age: Millis | None = None
    """A delivery older than this at its next attempt is buried; None is no limit."""


AS_LAMBDA = RetryPolicy(attempts=3, backoff="linear", initial=MINUTE, max=2 * MINUTE, jitter=False, max_age=6 * HOUR)
"""What becomes of an asynchronous invocation of a function that was made by the Lambda API: AWS's own two retries."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """How deliveries are put together into one invocation."""

    size: int = 1
    window: Millis = 0
    partial_failures: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Idempotency:
    """Run once per key within the horizon; repeat the stored answer."""

    key: str
    """A JSONPath over the record."""
    keep: Millis = DAY


@dataclass(frozen=True, slots=True, kw_only=True)
class Destination:
    """Where an outcome is sent: ``function:NAME``, ``queue:NAME``, ``webhook:URL``, ``file:PATH``, or an ARN.

    Of an ARN the kind is ``arn``, the target what follows. ``dead:ARN`` is what Lambda calls a dead-letter target: it
    gets the event itself.
    """

    kind: Literal["function", "queue", "webhook", "file", "arn", "dead"]
    target: str
    """Of a URL, with ``{secret:NAME}`` where a secret stands in it."""
    secrets: tuple[tuple[str, Secret], ...] = ()
    """What stands there, by name."""

    def __str__(self) -> str:
        return f"{self.kind}:{self.target}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Interpreter:
    """A Python or a Node of this host that was chosen by name or path, and answered."""

    runtime: Literal["python", "node"]
    program: str
    """Its absolute path; empty where none of this name is installed."""
    name: str
    """Lambda's name for it, like ``python3.12`` or ``nodejs20.x``."""
    version: tuple[int, ...] = ()
    folders: tuple[str, ...] = ()
    """Where its own files lie."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Needs:
    """The packages that a function depends on, and where their environment is once it is built."""

    kind: Literal["python", "node"]
    folder: Path
    """Named by all that decides what is in it; there once it is whole."""
    packages: tuple[str, ...] = ()
    """python: requirements of the inline metadata."""
    file: bool = False
    """Whether the code has a requirements.txt or a package.json that says more."""
    program: str = ""
    """python: the interpreter that they are for; empty is the hub's own."""
    apart: bool = False
    """Whether other files of the code may decide what is installed: its build sees them, and it is shared with none
    that has others."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Leading:
    """Where the calls of an alias go: functions by the hub's own names."""

    to: str
    weights: Mapping[str, float] = field(default_factory=dict)
    """The shares of calls that go to others."""

    @property
    def functions(self) -> tuple[str, ...]:
        """All of them."""
        return (self.to, *self.weights)

    @property
    def shares(self) -> dict[str, float]:
        """The share of each."""
        return {self.to: 1 - sum(self.weights.values()), **self.weights}


@dataclass(frozen=True, slots=True, kw_only=True)
class Function:
    """A handler made callable. Two functions that are equal are interchangeable to the pool."""

    name: str
    runtime: Literal["python", "node", "executable", "provided"]
    handler: str = ""
    """python, node: ``file-without-suffix.attribute`` within ``code``, Lambda's notation; the attribute is
    empty where the runtime shall look for ``handler`` and then ``lambda_handler``. provided: what the
    program reads from ``_HANDLER``."""
    command: tuple[str, ...] = ()
    """executable, provided: the program and its arguments; paths into the code are absolute paths in the snapshot."""
    interpreter: Interpreter | None = None
    """python, node: what runs it; None is the hub's own Python, or the first ``node`` on its PATH."""
    version: str = ""
    """The first 12 characters of the content hash of code and handler."""
    content: str = field(default="", compare=False)
    """Of the handlers folder: the same hash of what lies there, less the packages that it depends on. It changes by
    an edit alone, where another Python of the host changes the version, too."""
    code: Path = Path()
    """The read-only snapshot of this version."""
    lost: str = ""
    """Why it is not started: the version that it is pinned to cannot be had."""
    faulty: str = ""
    """Why it cannot be: what its own files say of it, its metadata or what it depends on, is wrong, and was ignored."""
    needs: Needs | None = None
    """The packages that it depends on beside its code and layers."""
    opt: Path | None = None
    """The read-only folder that its layers come to, which it sees at ``/opt``; None where it has none."""
    source: str = ""
    """Where the code came from, relative to the project, for people."""
    timeout: Millis = 30 * SECOND
    memory: int = 256 * MB
    concurrency: int = 4
    reserved: str = ""
    """Of a version, the function whose reservation ``concurrency`` is: all versions of it share that."""
    rate: Rate | None = None
    idle: Millis = 10 * MINUTE
    reuse: Reuse = "warm"
    """What of a worker the next call finds: python, and for "fresh" all but executables."""
    warm: int = 0
    """How many workers there are at any time, at most ``concurrency``."""
    env: Mapping[str, str | Secret] = field(default_factory=dict)
    retry: RetryPolicy = field(default_factory=RetryPolicy)
    dead_letters_keep: Millis = 14 * DAY
    idempotency: Idempotency | None = None
    on_success: tuple[Destination, ...] = ()
    on_failure: tuple[Destination, ...] = ()
    leads: Leading | None = None
    """Of an alias, where its calls go: it has no workers of its own, but policies and deliveries."""
    held: bool = False
    """Whether nothing of it may run now, since no concurrency is reserved for it: its deliveries wait."""
    loops: bool = False
    """Whether it runs though many handlers' answers led to one another, up to it."""
    system_level: SystemLevel = "INFO"
    """From which level on the hub's own lines of its calls are written, where its log is JSON."""
    level: Level = "isolated"
    """The least isolation that it runs with."""
    network: Network = False
    """What it reaches: whatever the host does, which ``host:port`` of it, or nothing but a loopback of its own.

    With ``host`` it is the host's network itself; otherwise only where that cannot be helped.
    """
    read: tuple[Path, ...] = ()
    """What of the host it sees beside its code, absolute."""
    write: tuple[Path, ...] = ()
    """And what it may change."""
    shown: tuple[Path, ...] = ()
    """What its triggers speak of, seen where it is there."""
    links: tuple[tuple[Path, Path], ...] = ()
    """Of these three, which led elsewhere when the configuration was read, and where: no link is followed later."""
    tmp: int = 512 * MB
    """How large its /tmp may grow, in bytes."""


DEPLOYED = "Lambda API"
"""The source of a function that was made by the Lambda API."""
DEPLOYED_NAMES = Path("functions", "names.json")
"""Where the names of such functions stand, below the data folder."""
GIVEN_UIDS = Path("uids")
"""And the uids that functions were given: a line for each, and of two for one name or one uid the first counts."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Trigger:
    """Which source feeds which functions, under which policies."""

    name: str
    type: str
    functions: tuple[str, ...]
    options: object
    """The source's own ``Options``, validated."""
    place: Path | None = None
    """Where the folder was that it watches when the configuration was read; None follows links at any time."""
    enabled: bool = True
    filter: Json | None = None
    """An EventBridge pattern, as JSON."""
    key: str | None = None
    """``header:NAME`` or a JSONPath; None leaves the source's own key."""
    keep: Millis = DAY
    order: str | None = None
    """A JSONPath: one delivery at a time per value."""
    batch: Batch = field(default_factory=Batch)
    input: bytes | None = None
    """JSON that replaces what the handler would receive."""
    retry: Mapping[str, RetryPolicy] = field(default_factory=dict)
    """By function: the trigger's retry over the function's over the defaults, merged."""
    on_failure: tuple[Destination, ...] | None = None
    """Replaces the function's own; None leaves it."""
    ack: Literal["stored", "handled"] = "stored"
    """When the source may forget an event: once it is committed, or once its function is done with it."""
    backlog: int = 100_000
    maximum_concurrency: int | None = None
    written: frozenset[str] = field(default=frozenset(), compare=False)
    """The common keys that its table has, inline tables' as ``retry.attempts``: for a source's ``check``."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HubSettings:
    """The ``[hub]`` table."""

    project: Path
    """The folder of triggerhub.toml, absolute."""
    handlers: Path
    data: Path
    listen: tuple[str, int] = ("127.0.0.1", 8700)
    admin: tuple[str, int] = ("127.0.0.1", 8701)
    timezone: str = "UTC"
    user: str | None = None
    """Whom the hub is; None leaves it who started it."""
    node: str = ""
    """This hub's own name, the host's by default; shown in status."""
    drain: Millis = 30 * SECOND
    keep: Millis = 7 * DAY
    keep_size: int = 10 * GB
    tls: tuple[Path, Path] | None = None
    """Certificate chain and key, PEM."""
    trusted_proxies: tuple[str, ...] = ()
    """Addresses or networks whose X-Forwarded-* headers are believed."""
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    log_format: Literal["auto", "text", "json"] = "auto"
    durability: Literal["full", "normal"] = "full"


@dataclass(frozen=True, slots=True, kw_only=True)
class User:
    """Somebody who signs in at the console."""

    hash: Secret
    """What ``hash-password`` printed."""
    role: Literal["viewer", "operator", "admin"] = "admin"
    payloads: bool = True
    """Whether events, their keys, answers, the text of errors and logs are shown."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ConsoleSettings:
    """The ``[console]`` table."""

    auth: Literal["none", "token", "password"] = "none"
    users: Mapping[str, User] = field(default_factory=dict)
    hosts: tuple[str, ...] = ()
    """Names, besides its address, by which the admin listener is called."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Condition:
    """An alarm's sentence, read by ``policy.alarm``."""

    text: str
    measure: str
    name: str
    """The function or trigger."""
    comparison: str
    bound: float
    """In milliseconds for a time, in percent for a share."""
    window: Millis | None
    """None where the measure is as it stands."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Alarm:
    """When somebody is told, and who."""

    when: Condition
    hold: Millis = 0
    """How long the condition has to hold."""
    repeat: Millis | None = None
    """Tell again after so long while it lasts."""
    then: tuple[Destination, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Project:
    """Everything that was configured, valid as a whole."""

    hub: HubSettings
    console: ConsoleSettings = field(default_factory=ConsoleSettings)
    functions: Mapping[str, Function]
    triggers: Mapping[str, Trigger]
    defaults: Function = field(default_factory=lambda: Function(name="", runtime="python"))
    """What ``[defaults]`` says, for functions that were made by the Lambda API: code, time and memory are their own."""
    retries: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    """What ``[functions.NAME]`` says of the ``retry`` of functions that were made by the Lambda API, key by key."""
    sandboxes: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    """And of their ``sandbox``, over that of ``[defaults]``, by the names of ``Function``."""
    places: Mapping[Path, Path] = field(default_factory=dict)
    """Where paths that handlers are to see led when this was read, where that is elsewhere."""
    alarms: Mapping[str, Alarm] = field(default_factory=dict)
    lines: Mapping[tuple[str, ...], int] = field(default_factory=dict, compare=False)
    """Where the file says what: the line of each key, by its path."""
    texts: Mapping[tuple[str, ...], str] = field(default_factory=dict, compare=False)
    """What it says of the code of functions, as it stands there: ``handler``, ``command``, ``runtime``, ``layers``."""
    inline: Mapping[tuple[str, ...], str] = field(default_factory=dict, compare=False)
    """The handlers' files that say a key of a function, by the path that it would have in triggerhub.toml."""
