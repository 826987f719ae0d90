"""Describe triggerhub.toml as it is written: which keys there are and what each may hold.

The models stand for the text, not for the running project: what is absent stays unset, so that the
layers can be merged key by key. The docstring below a key is its description in editors.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Literal, get_args

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from triggerhub.config.values import (
    Address,
    Amount,
    Content,
    Count,
    Hash,
    HostName,
    Login,
    Moment,
    Network,
    Place,
    Reach,
    Sentence,
    Text,
    To,
    Variable,
    within,
)
from triggerhub.policy import units
from triggerhub.settings import GB, MB, MINUTE
from triggerhub.source import Duration, RateLimit, Size

MAX_BATCH = 10_000
Ack = Literal["stored", "handled"]
ACKS: tuple[Ack, ...] = get_args(Ack)


class Table(BaseModel):
    """Base of every table: unknown keys and other types than TOML wrote are errors."""

    # Most files write few of the tables: each is compiled when it is first read.
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, arbitrary_types_allowed=True, defer_build=True)


def given(table: Table) -> dict[str, Any]:
    """Return what was written in a table, inline tables within it as dicts too."""
    values = {name: getattr(table, name) for name in table.model_fields_set}
    return {name: given(value) if isinstance(value, Table) else value for name, value in values.items()}


def keys(written: Mapping[str, Any], above: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """Yield the path of every key that was written, of those within inline tables too."""
    for key, value in written.items():
        yield (*above, key)
        if isinstance(value, Mapping):
            yield from keys(value, (*above, key))


def merge(*layers: Mapping[str, Any]) -> dict[str, Any]:
    """Merge tables, the later over the earlier, inline tables key by key."""
    merged: dict[str, Any] = {}
    for layer in layers:
        for key, value in layer.items():
            below = merged.get(key)
            merged[key] = merge(below, value) if isinstance(below, dict) and isinstance(value, dict) else value
    return merged


class Log(Table):
    """How much the hub says of itself, and in which form."""

    level: Literal["debug", "info", "warning", "error"] = "info"
    """The least severe line that is written."""
    format: Literal["auto", "text", "json"] = "auto"
    """``auto`` is text on a terminal and JSON lines elsewhere."""


class Tls(Table):
    """HTTPS on ``listen``."""

    cert: Place
    """Path of the certificate chain, PEM."""
    key: Place
    """Path of the private key, PEM."""


class Hub(Table):
    """The daemon itself."""

    handlers: Place = "handlers"
    """Folder whose files are functions."""
    data: Place = "var"
    """Folder of the database, payloads, logs and the control socket."""
    listen: Address = ("127.0.0.1", 8700)
    """Address of the webhooks: the only port the world should see."""
    admin: Address = ("127.0.0.1", 8701)
    """Address of the console, the API, metrics and health."""
    timezone: Text = "UTC"
    """Time zone of cron schedules, like ``Europe/Berlin``."""
    user: Annotated[str, Field(min_length=1, max_length=255)] | None = None
    """Whom the hub becomes when root starts it."""
    node: Annotated[str, Field(min_length=1, max_length=255)] | None = None
    """This hub's own name; the host's where it is absent."""
    drain: Duration = 30_000
    """How long running handlers may take to finish at shutdown."""
    keep: Moment = 604_800_000
    """How long finished deliveries stay in the history."""
    keep_size: Amount = 10 * GB
    """How large the history may grow before the oldest is dropped early."""
    tls: Tls | None = None
    """HTTPS on ``listen``."""
    trusted_proxies: list[Network] = []
    """Addresses or networks whose ``X-Forwarded-*`` headers are believed."""
    log: Log = Log()
    """How much the hub says of itself, and in which form."""
    durability: Literal["full", "normal"] = "full"
    """``full``: an accepted event survives power loss; ``normal``: any crash of the process."""


class Retry(Table):
    """When and how often a failed delivery is tried again."""

    attempts: Annotated[int, within(1, 1000, str)] = 3
    """Attempts in all, the first included."""
    backoff: Literal["exponential", "linear", "constant"] = "exponential"
    """How the wait grows from one attempt to the next."""
    initial: Moment = 1000
    """The first wait."""
    max: Moment = 300_000
    """The longest wait."""
    jitter: bool = True
    """Spread the waits at random, so that failures do not come back together."""
    max_age: Moment | None = None
    """A delivery older than this at its next attempt is a dead letter."""


class DeadLetters(Table):
    """What failed for good."""

    keep: Moment = 1_209_600_000
    """How long a dead letter is kept."""


class Idempotency(Table):
    """Run once per key, and repeat the stored answer."""

    key: Text | None = None
    """A JSONPath over the record."""
    keep: Moment = 86_400_000
    """How long a key is remembered."""


class Sandbox(Table):
    """What a handler may touch."""

    level: Literal["contained", "isolated", "confined", "trusted"] = "isolated"
    """The least isolation that it runs with; ``trusted`` is none: it runs as the hub's own user."""
    network: bool | Literal["host"] | list[Reach] = False
    """Whether it reaches what the host does, or a list of ``host:port`` by a proxy; ``host`` is the host's network."""
    read: list[Place] = []
    """What of the host it sees beside its code and what its triggers speak of."""
    write: list[Place] = []
    """What of the host it may change."""


class Defaults(Table):
    """What every function inherits."""

    timeout: Annotated[Duration, within(1, 15 * MINUTE, units.show_duration)] = 30_000
    """How long one call may take; its whole process group is killed then."""
    memory: Annotated[Size, within(128 * MB, 10 * GB, units.show_size)] = 256 * MB
    """How much memory one worker may use."""
    tmp: Annotated[Size, within(MB, 10 * GB, units.show_size)] = 512 * MB
    """How much its ``/tmp`` may hold."""
    concurrency: Annotated[int, within(1, 10_000, str)] = 4
    """How many calls may run at once."""
    rate: RateLimit | None = None
    """How many calls may begin in a time, like ``10/s``."""
    idle: Moment = 600_000
    """A warm worker without work ends after this."""
    reuse: Literal["warm", "fork", "fresh"] = "warm"
    """What the next call meets: the same process, a new fork of it, or a new worker."""
    warm: Annotated[int, within(0, 10_000, str)] = 0
    """How many workers are ready at any time, called or not; at most ``concurrency``."""
    env: dict[Variable, Content] = {}
    """Environment variables: texts or references to secrets."""
    layers: list[Place] = []
    """Zip archives or folders that it sees as one at ``/opt``, the later over the earlier."""
    retry: Retry = Retry()
    """When and how often a failed delivery is tried again."""
    dead_letters: DeadLetters = DeadLetters()
    """What becomes of what failed for good."""
    idempotency: Idempotency | None = None
    """Run once per key, and repeat the stored answer."""
    on_success: list[To] = []
    """Where the answer is sent: ``function:NAME``, ``queue:NAME``, ``webhook:URL``, ``file:PATH``, an ARN.
    In a URL ``{secret:NAME}`` stands for a secret."""
    on_failure: list[To] = []
    """Where a dead letter's record is sent."""
    sandbox: Sandbox = Sandbox()
    """What a handler may touch."""


class Inline(Defaults):
    """``[tool.triggerhub]`` in a Python handler's inline metadata."""


class Function(Defaults):
    """One function, where the defaults or the file's name are not enough."""

    handler: Text | None = None
    """``FILE`` or ``FILE:ATTRIBUTE`` within the handlers folder."""
    command: Annotated[list[str], Field(min_length=1)] | None = None
    """Program and arguments: the event is JSON on stdin, the answer on stdout."""
    runtime: Text | None = None
    """What runs it, like ``python3.12``, ``nodejs20.x``, ``provided``, ``executable`` or the path of an interpreter;
    the file's suffix says so where it is absent."""


class Batch(Table):
    """How deliveries are put together into one call."""

    size: Annotated[int, within(1, MAX_BATCH, str)] = 1
    """At most so many records in one call."""
    window: Annotated[Duration, within(0, 5 * MINUTE, units.show_duration)] = 0
    """Wait so long for a batch to fill."""
    partial_failures: bool = False
    """The handler names the records that failed in ``batchItemFailures``."""


class Trigger(Table):
    """The keys that every trigger has; its source adds its own."""

    type: Text
    """Which source feeds it: the name of a module in ``sources``."""
    function: Text | None = None
    """The function that it starts."""
    functions: Annotated[list[Text], Field(min_length=1)] | None = None
    """Several functions: each gets its own delivery of every event."""
    enabled: bool = True
    """Whether it runs."""
    filter: dict[str, Any] | None = None
    """An EventBridge pattern; what does not match is not delivered."""
    key: Text | None = None
    """The dedup key: ``header:NAME`` or a JSONPath over the record."""
    keep: Moment = 86_400_000
    """How long a dedup key is remembered."""
    order: Text | None = None
    """A JSONPath: deliveries with the same value run one at a time, oldest first."""
    batch: Batch = Batch()
    """How deliveries are put together into one call."""
    input: Any = None
    """JSON that the handler receives instead of the event."""
    retry: Retry = Retry()
    """Over the function's own ``retry``, key by key."""
    on_failure: list[To] | None = None
    """Instead of the function's own ``on_failure``."""
    ack: Ack = "stored"
    """When the source may forget an event: once it is committed, or once its function is done with it."""
    backlog: Count = 100_000
    """How many queued deliveries it may have before its source has to wait."""
    maximum_concurrency: Count | None = None
    """How many of a function's calls may be this trigger's."""


def _person(value: Any) -> Any:
    """Read the short form, a reference alone, as the long one."""
    if isinstance(value, Mapping) and set(value) <= {"secret", "file"}:
        return {"password": value}
    return value


class Person(Table):
    """Somebody who signs in; a reference to the hash alone will do for an admin."""

    password: Hash
    """Reference to the hash that ``triggerhub hash-password`` prints."""
    role: Literal["viewer", "operator", "admin"] = "admin"
    """``viewer`` looks, ``operator`` also redelivers, retries, cancels, pauses and fires, ``admin`` does everything."""
    payloads: bool = True
    """Whether events, their keys, answers, the text of errors and logs are shown."""


class PasswordAuth(Table):
    """People sign in by name and password; programs by tokens."""

    type: Literal["password"]
    """That people sign in."""
    users: Annotated[
        dict[Login, Annotated[Person, BeforeValidator(_person, json_schema_input_type=Person | dict[str, str])]],
        Field(min_length=1),
    ]
    """Who may, by name."""


class Console(Table):
    """Who may open the admin address."""

    auth: Literal["none", "token"] | PasswordAuth = "none"
    """``"none"``: everybody who reaches it; ``"token"``: programs with a token; or a table with users."""
    hosts: list[HostName] = []
    """Names by which the admin address is called, besides the address itself: those of a proxy before it."""


class Alarm(Table):
    """When somebody is told, and who."""

    when: Sentence
    """A sentence like ``errors(ship-order) > 5 in 10m``."""
    hold: Annotated[Duration, within(0, None, units.show_duration)] = 0
    """How long the condition has to hold before the alarm goes off, and not to before it is over."""
    repeat: Annotated[Duration, within(MINUTE, None, units.show_duration)] | None = None
    """Tell again after so long while it lasts."""
    then: list[To] = []
    """Who is told, when it goes off and when it is over."""


TABLES: dict[str, type[Table]] = {"hub": Hub, "defaults": Defaults, "console": Console}
"""The tables of which there is one."""
NAMED: dict[str, type[Table]] = {"functions": Function, "triggers": Trigger, "alarms": Alarm}
"""The tables of which there is one per name."""
COMMON = frozenset(Trigger.model_fields)
"""The keys of a trigger's table that are not its source's."""
