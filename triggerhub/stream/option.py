"""Read the options that the sources of streams share, and find what does not go together."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import datetime
from typing import Annotated, Any, TypeVar

from pydantic import AfterValidator, BeforeValidator, Field

from triggerhub import awsclient, settings
from triggerhub.policy.streaming import Plan
from triggerhub.policy.streaming.plan import PAYLOAD_LIMIT, STATE_LIMIT
from triggerhub.policy.units import show_duration
from triggerhub.settings import DAY, MINUTE, SECOND
from triggerhub.source import Duration, Finding
from triggerhub.stream.keeper import Start

WORDS = {"latest": Start(where="LATEST"), "trim_horizon": Start(where="TRIM_HORIZON")}
OWN = ("parallel", "bisect", "max_age", "tumbling")
"""Options that the hub's queue has no use for."""


def start(value: Any) -> Start:
    """Return where ``"latest"`` or ``"trim_horizon"`` is, in any case. ValueError says what is legal."""
    found = WORDS.get(value.lower()) if isinstance(value, str) else None
    if found is None:
        raise ValueError(f'expected "latest" or "trim_horizon", got {_shown(value)}')
    return found


def start_or_moment(value: Any) -> Start:
    """As :func:`start`, or a moment: a TOML date-time, or one in quotes. ValueError says what is legal."""
    moment = value if isinstance(value, datetime) else None
    if isinstance(value, str) and value[:1].isdigit():
        try:
            moment = datetime.fromisoformat(value)
        except ValueError:
            raise ValueError(f'{value!r} is not a moment; write one like "2026-01-31T12:00:00Z"') from None
    if moment is None:
        try:
            return start(value)
        except ValueError as error:
            raise ValueError(str(error).replace(", got", " or a moment like 2026-01-31T12:00:00Z, got")) from None
    if moment.tzinfo is None:
        raise ValueError(f"{_shown(value)} has no offset; end it in Z, or in one like +02:00")
    return Start(where="AT_TIMESTAMP", at=int(moment.timestamp() * SECOND))


def _shown(value: Any) -> str:
    return value.isoformat() if isinstance(value, datetime) else repr(value)


def shaped(pattern: str, expected: str) -> AfterValidator:
    """Return what raises ValueError for a text that is not of this pattern, saying what was *expected*."""

    def look(value: str) -> str:
        if not re.fullmatch(pattern, value):
            raise ValueError(f"expected {expected}, got {value!r}")
        return value

    return AfterValidator(look)


def located(options: Given, stream: str | None) -> Given:
    """Return the options with the region that an ARN names, where they name none."""
    if options.region is not None or stream is None or not stream.startswith("arn:"):
        return options
    return options.model_copy(update={"region": stream.split(":")[3]})


def _age(value: int) -> int:
    if not MINUTE <= value <= 7 * DAY:
        raise ValueError(f"{show_duration(value)} is out of range: from 1m to 7d")
    return value


def _window(value: int) -> int:
    if value % SECOND or not SECOND <= value <= 15 * MINUTE:
        raise ValueError(f"{show_duration(value)} is out of range: whole seconds from 1s to 15m")
    return value


Given = TypeVar("Given", bound=awsclient.Options)
Beginning = Annotated[Start, BeforeValidator(start, json_schema_input_type=str)]
BeginningOrMoment = Annotated[Start, BeforeValidator(start_or_moment, json_schema_input_type=str)]


class Options(awsclient.Options):
    """What sources of streams take."""

    parallel: Annotated[int, Field(ge=1, le=10)] = 1
    """How many calls a shard may have under way; records of one key stay in order all the same."""
    bisect: bool = False
    """Halve a batch that failed until the record that is to blame is alone."""
    max_age: Annotated[Duration, AfterValidator(_age)] | None = None
    """A record older than this is a dead letter instead of being tried (again)."""
    tumbling: Annotated[Duration, AfterValidator(_window)] | None = None
    """Hand a state from call to call within windows of this length."""


def plan(options: Options, trigger: settings.Trigger, retry: settings.RetryPolicy) -> Plan:
    """Return the policies that a trigger's shards obey."""
    return Plan(
        size=trigger.batch.size,
        window=trigger.batch.window,
        bytes=PAYLOAD_LIMIT - STATE_LIMIT if options.tumbling else PAYLOAD_LIMIT,
        parallel=options.parallel,
        bisect=options.bisect,
        partial=trigger.batch.partial_failures,
        tumbling=options.tumbling or 0,
        max_age=options.max_age,
        retry=retry,
    )


def check(options: Options, trigger: settings.Trigger, stream: str | None) -> Iterator[Finding]:
    """Find options that contradict one another, the ``ack``, or the ARN of the *stream*."""
    region = located(options.model_copy(update={"region": None}), stream).region
    if options.region is not None and region is not None and region != options.region:
        yield Finding(
            option="region",
            code="bad-value",
            message=f"the stream is in {region}, as its ARN says, and not in {options.region}",
            hint="leave region out",
        )
    if trigger.ack == "stored":
        for name in OWN:
            if name in options.model_fields_set:
                yield Finding(
                    option=name,
                    code="bad-ack",
                    message='with ack = "stored" the hub\'s queue keeps order by key and tries again by itself',
                    hint=f'leave {name} out, or use ack = "handled"',
                )
    elif options.tumbling:
        if options.parallel > 1:
            yield Finding(
                option="parallel",
                code="bad-tumbling",
                message="the state of a tumbling window goes from one call to the next, so that there is one at a time",
                hint="leave parallel out",
            )
        if trigger.input is not None:
            yield Finding(
                option="input",
                code="bad-tumbling",
                message="the function would not see the state of its tumbling window",
                hint="leave input out",
            )
    for name in ("key", "order"):
        if (getattr(trigger, name) or "").startswith("header:"):
            yield Finding(
                option=name,
                code="no-headers",
                message=f"{getattr(trigger, name)!r} finds nothing: records of a stream have no headers",
                hint='name a field of the record instead, like "$.eventID"',
            )
