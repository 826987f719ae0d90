"""Watch a bucket: by its notifications in an SQS queue, or by listing it again and again.

Listing is for stores that tell nothing. What was told of each object is kept with the events, in one commit, so that a
crash neither repeats a change nor loses one.
"""

from __future__ import annotations

import hashlib
import json
import zlib
from collections.abc import Collection, Iterator, Mapping, Sequence
from email.utils import parsedate_to_datetime
from typing import Annotated, Any, Literal

import anyio
from pydantic import Field

from triggerhub import awsclient, awsqueue, settings, source
from triggerhub.aws import notification
from triggerhub.aws import s3 as shape
from triggerhub.aws.records import records
from triggerhub.awsclient import Connection
from triggerhub.awsconsumer import EventsOf, Queue
from triggerhub.awsfault import AwsFault, Trouble
from triggerhub.errors import BadInput
from triggerhub.model import Event, Millis
from triggerhub.policy import listing
from triggerhub.policy.listing import Change, Listed, Scope
from triggerhub.settings import MINUTE, SECOND

acks = ("stored", "handled")
KNOWN = "o:"
"""Checkpoints of objects: their keys after it, their tags in it."""
BEGAN = "began"
"""The checkpoint of the moment from which on objects are told, by the bucket's clock; empty tells all of them."""
LISTED = "listed"
"""The checkpoint of the scope that was listed to its end: what is new in it came after that."""
OF = "bucket"
"""The checkpoint of the bucket that the others are about."""
PAGE = 500
"""How many changes are committed together."""


class Options(awsclient.Options):
    """What ``type = "s3"`` takes."""

    bucket: Annotated[str, awsclient.like(r"[A-Za-z0-9][A-Za-z0-9._-]{1,254}", "a bucket's name, not its ARN or URL")]
    """The bucket's name."""
    prefix: str = ""
    """Only objects whose keys begin so."""
    suffix: str = ""
    """Only objects whose keys end so."""
    events: Annotated[tuple[Change, ...], Field(min_length=1)] = ("created", "modified")
    """What is told: ``created``, ``modified``, ``deleted``."""
    queue: awsqueue.Name | None = None
    """URL, ARN or name of the SQS queue that gets the bucket's notifications; without it the bucket is listed."""
    wait: awsqueue.Wait | None = None
    """With a queue: how long a request waits when it is empty."""
    visibility: awsqueue.Visibility | None = None
    """With a queue: how long a received message is hidden unless that is renewed."""
    every: source.Duration | None = None
    """Without a queue: how often the bucket is listed; a minute where absent."""
    existing: Literal["skip", "emit"] | None = None
    """Without a queue: what becomes of objects that lie there at the first start; skipped where absent."""


async def run(ctx: source.Context, options: Options) -> None:
    """Take notifications, or list, until cancelled."""
    if options.queue is not None:
        wait = awsqueue.WAIT if options.wait is None else options.wait
        reading = notified(options)
        await awsqueue.consume(ctx, options, options.queue, reading, wait=wait, visibility=options.visibility)
        return
    trouble = Trouble(ctx)
    async with awsclient.connected("s3", options) as s3:
        known = await _known(ctx, options)
        while True:
            try:
                await _compare(ctx, options, s3, known)
            except AwsFault as fault:
                await trouble.rest(fault)
                continue
            trouble.well()
            ctx.begun()
            await anyio.sleep((MINUTE if options.every is None else options.every) / 1000)


# notifications


def notified(options: Options) -> EventsOf:
    """Return what reads the events for this trigger out of a message."""

    def read(message: Mapping[str, Any], queue: Queue) -> Sequence[Event]:
        try:
            found = notification.records(message["Body"])
        except ValueError as error:
            raise BadInput(f"it is no notification of S3: {error}") from None
        return [_event(one) for one in found if _wanted(options, one)]

    return read


def _wanted(options: Options, record: Mapping[str, Any]) -> bool:
    change = notification.change(str(record.get("eventName", "")))
    # S3 tells an object that is put again as created.
    wanted = {"created" if one == "modified" else one for one in options.events}
    key = shape.decode_key(record["s3"]["object"]["key"])
    return record["s3"]["bucket"]["name"] == options.bucket and change in wanted and _scope(options).holds(key)


def _event(record: Mapping[str, Any]) -> Event:
    thing = record["s3"]["object"]
    told = str(thing.get("sequencer") or record.get("eventTime", ""))
    return Event(
        data=json.dumps(record, separators=(",", ":")).encode("ascii"),
        time=notification.moment(str(record.get("eventTime", ""))),
        dedup_key=dedup_key(record["s3"]["bucket"]["name"], thing["key"], f"{told} {record.get('eventName', '')}"),
    )


def dedup_key(bucket: str, key: str, version: str) -> str:
    """Return bucket, key and version; a long key by its digest."""
    if len(key) > 500:
        key = hashlib.sha256(key.encode("utf-8", "surrogatepass")).hexdigest()
    return f"{bucket}/{key} {version}"


# listing


async def _known(ctx: source.Context, options: Options) -> dict[str, str]:
    """Return the tags of the objects that were told before, by key.

    What ``bucket``, ``prefix`` and ``suffix`` meant before and no longer mean is forgotten: no listing would have it,
    and yet it was not deleted.
    """
    inventory = {key.removeprefix(KNOWN): tag for key, tag in (await ctx.checkpoints(KNOWN)).items()}
    before, listed, scope = await ctx.checkpoint(OF), await ctx.checkpoint(LISTED), _scope(options)
    changed: dict[str, str | None] = {}
    known: dict[str, str] = {}
    if before != options.bucket:
        changed[OF] = options.bucket
    if before in (None, options.bucket):
        known = {key: tag for key, tag in inventory.items() if scope.holds(key)}
        left = Scope.decode(listed).shared(scope) if listed is not None else None
        changed[LISTED] = None if left is None else left.encode()
    else:
        changed[BEGAN] = changed[LISTED] = None
    changed |= {KNOWN + key: None for key in inventory if key not in known}
    if changed != {LISTED: listed}:
        await ctx.set_checkpoints(changed)
    return known


def _scope(options: Options) -> Scope:
    return Scope(options.prefix, options.suffix)


async def _compare(ctx: source.Context, options: Options, s3: Connection, known: dict[str, str]) -> None:
    """List the bucket once and tell what differs from *known*, which is brought up to date. Raises AwsFault."""
    seen: set[str] = set()
    token: dict[str, str] = {}
    began, listed, scope = await ctx.checkpoint(BEGAN), await ctx.checkpoint(LISTED), _scope(options)
    before = None if listed is None else Scope.decode(listed)
    while True:
        answer = await s3.call("list_objects_v2", Bucket=options.bucket, Prefix=options.prefix, **token)
        if began is None:
            began = "" if options.existing == "emit" else str(_clock(ctx, answer))
            await ctx.set_checkpoints({BEGAN: began})
        page = [one for one in map(_listed, answer.get("Contents", [])) if one.key.endswith(options.suffix)]
        seen.update(one.key for one in page)
        changes = listing.differing(page, known)
        old = {one.key for _, one in changes if listing.old(one, int(began) if began else None, before)}
        await _tell(ctx, options, changes, known, old)
        if not answer.get("IsTruncated"):
            break
        token = {"ContinuationToken": answer["NextContinuationToken"]}
    gone = [Listed(key=key, etag=tag, size=0, changed=ctx.now()) for key, tag in known.items() if key not in seen]
    await _tell(ctx, options, [("deleted", one) for one in gone], known)
    if before != scope:
        await ctx.set_checkpoints({LISTED: scope.encode()})


async def _tell(
    ctx: source.Context,
    options: Options,
    changes: Sequence[tuple[Change, Listed]],
    known: dict[str, str],
    old: Collection[str] = (),
) -> None:
    """Commit changes and what is known by them; *old* objects and what nobody asked for are known silently."""
    for start in range(0, len(changes), PAGE):
        part = changes[start : start + PAGE]
        events: list[Event | None] = [
            _changed(options, change, one)
            if change in options.events and not (change == "created" and one.key in old)
            else None
            for change, one in part
        ]
        try:
            await _commit(ctx, part, events, known)
        except BadInput:
            for change, event in zip(part, events, strict=True):
                try:
                    await _commit(ctx, [change], [event], known)
                except BadInput as error:
                    # It will be refused for ever, and must not hold up the others.
                    ctx.log.error("the hub refuses an event", object=change[1].key, why=error.message, on_screen=True)
                    await _commit(ctx, [change], [None], known)


async def _commit(
    ctx: source.Context,
    changes: Sequence[tuple[Change, Listed]],
    events: Sequence[Event | None],
    known: dict[str, str],
) -> None:
    """Commit events with what is known by them. Raises BadInput where the hub takes one of them never."""
    now = {KNOWN + one.key: None if change == "deleted" else one.etag for change, one in changes}
    await ctx.emit(*filter(None, events), checkpoints=now)
    for change, one in changes:
        if change == "deleted":
            known.pop(one.key, None)
        else:
            known[one.key] = one.etag


def _changed(options: Options, change: Change, one: Listed) -> Event:
    number = one.changed << 32 | zlib.crc32(one.etag.encode())
    sequencer = shape.sequencer(number)
    deleted = change == "deleted"
    data = shape.record(
        bucket=options.bucket,
        key=one.key,
        event_name=shape.REMOVED if deleted else shape.CREATED,
        time=one.changed,
        sequencer=sequencer,
        size=None if deleted else one.size,
        etag=None if deleted else one.etag,
        change=change,
        region=options.region or shape.REGION,
    )
    return Event(data=data, time=one.changed, dedup_key=dedup_key(options.bucket, one.key, f"{sequencer} {change}"))


def _listed(entry: Mapping[str, Any]) -> Listed:
    changed = int(entry["LastModified"].timestamp() * 1000)
    return Listed(key=entry["Key"], etag=entry["ETag"].strip('"'), size=entry["Size"], changed=changed)


def _clock(ctx: source.Context, answer: Mapping[str, Any]) -> Millis:
    """Return the moment of an answer by the bucket's clock, which stamps its objects; whole seconds."""
    try:
        stamp = answer["ResponseMetadata"]["HTTPHeaders"]["date"]
        return int(parsedate_to_datetime(stamp).timestamp() * 1000)
    except (KeyError, ValueError):
        return ctx.now() // SECOND * SECOND


# hooks


async def probe(ctx: source.Context, options: Options) -> str:
    """Ask for the queue, or for the bucket's first object. Raises AwsFault."""
    if options.queue is not None:
        return await awsqueue.tried(ctx, options, options.queue)
    async with awsclient.connected("s3", options) as s3:
        who = await s3.asker()
        await s3.call("list_objects_v2", Bucket=options.bucket, Prefix=options.prefix, MaxKeys=1)
        return f"s3://{options.bucket}/{options.prefix} as {who}"


def wrap(options: Options, trigger: str, body: bytes, now: Millis) -> Event:
    """Return the event of an object that was put; the body is its key. BadInput where it is none."""
    try:
        key = body.decode().strip()
    except UnicodeDecodeError:
        key = ""
    if not key or len(key.encode()) > 1024:
        raise BadInput(
            "expected the key of an object, at most 1024 bytes", hint=f"triggerhub send {trigger} -d folder/object.jpg"
        )
    thing = Listed(key=key, etag=hashlib.md5(body, usedforsecurity=False).hexdigest(), size=0, changed=now)
    return _changed(options, "created", thing)


def envelope(found: Sequence[bytes]) -> bytes:
    """Return ``{"Records":[…]}``."""
    return records(found)


def samples(options: Options, trigger: str, now: Millis) -> Mapping[str, Event]:
    """Return an object that was created, modified, deleted."""
    key = f"{options.prefix}sample{options.suffix}"
    thing = Listed(key=key, etag="d41d8cd98f00b204e9800998ecf8427e", size=1024, changed=now)
    changes: tuple[Change, ...] = ("created", "modified", "deleted")
    return {change: _changed(options, change, thing) for change in changes}


def check(options: Options, trigger: settings.Trigger) -> Iterator[source.Finding]:
    """Find what does nothing here."""
    useless = ("every", "existing") if options.queue is not None else ("wait", "visibility")
    why = "its notifications come in a queue" if options.queue is not None else "the bucket is listed"
    for option in useless:
        if getattr(options, option) is not None:
            hint = f"leave {option} out" if options.queue is not None else "add queue, or leave it out"
            yield source.Finding(option=option, code="bucket-mode", message=f"it does nothing where {why}", hint=hint)
    if options.every is not None and options.every < SECOND:
        yield source.Finding(option="every", code="bucket-mode", message="a bucket is listed once a second at most")
    if trigger.ack == "handled":
        yield from _handled(options, trigger)
    for option in ("key", "order"):
        if (getattr(trigger, option) or "").startswith("header:"):
            hint = "use a JSONPath, such as $.s3.object.key"
            yield source.Finding(option=option, code="no-headers", message="an object has no headers", hint=hint)


def _handled(options: Options, trigger: settings.Trigger) -> Iterator[source.Finding]:
    if options.queue is None:
        message = "a listing keeps nothing that could be given again"
        yield source.Finding(option="ack", code="bad-ack", message=message, hint='use ack = "stored", or add queue')
    for key in ("retry.attempts", "retry.max_age", "on_failure"):
        if key in trigger.written:
            message = (
                f'with ack = "handled" {key} is the queue\'s: its redrive policy says when to give up and where to'
            )
            yield source.Finding(option=key.partition(".")[0], code="bad-ack", message=message, hint=f"leave {key} out")
    if trigger.batch.size > 10 or trigger.batch.window:
        message = 'with ack = "handled" a batch is what one request gives: at most 10 messages, and no window'
        yield source.Finding(option="batch", code="bad-batch", message=message, hint='use ack = "stored"')
