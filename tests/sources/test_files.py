"""The files source on real files and real inotify."""

from __future__ import annotations

import errno
import json
import os
import shutil
import subprocess
import time
from collections import Counter
from collections.abc import AsyncGenerator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from urllib.parse import unquote_plus

import anyio
import pytest

from sources import files
from triggerhub import folder, inotify
from triggerhub.model import Event, Millis
from triggerhub.policy import baseline, inventory
from triggerhub.testing import FakeClock, FakeContext, trigger


class WallClock(FakeClock):
    """The machine's own clock: files carry its time."""

    def now(self) -> Millis:
        return time.time_ns() // 1_000_000


def options(root: Path, **given: Any) -> files.Options:
    return files.Options.model_validate(
        {"path": str(root), "settle": "100ms", "events": ["created", "modified", "deleted"]} | given
    )


def context(stored: dict[str, str] | None = None, **settings: Any) -> FakeContext:
    ctx = FakeContext(trigger("inbox", "files", **settings), clock=WallClock())
    ctx.stored = stored if stored is not None else {}
    return ctx


@asynccontextmanager
async def watching(ctx: FakeContext, opts: files.Options, *, ready: bool = True) -> AsyncGenerator[FakeContext]:
    """Run the source; once *ready* the first scan is over."""
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(files.run, ctx, opts)
        if ready:
            await until(lambda: settled(ctx, opts))
        yield ctx
        tasks.cancel_scope.cancel()


def settled(ctx: FakeContext, opts: files.Options) -> bool:
    """Return whether a full scan under these options is over."""
    if (stored := ctx.stored.get(baseline.KEY)) is None:
        return False
    found = baseline.Baseline.decode(stored)
    scope = found.scope
    return (scope.root, scope.include, found.since) == (opts.path, opts.include, None)


async def until(true: Callable[[], Any], within: float = 20) -> None:
    with anyio.fail_after(within):
        while not true():
            await anyio.sleep(0.01)


async def quiet(ctx: FakeContext, opts: files.Options, marker: str = "zz-marker") -> None:
    """Return once a file made now has fired: whatever was to fire before it has."""
    (Path(opts.path) / marker).write_text(marker)
    await until(lambda: any(key(event) == marker for event in ctx.events))


def body(event: Event) -> dict[str, Any]:
    value: dict[str, Any] = json.loads(event.data)
    return value


def key(event: Event) -> str:
    return unquote_plus(body(event)["s3"]["object"]["key"], errors="surrogateescape")


def told(ctx: FakeContext) -> list[tuple[str, str]]:
    return [(body(event)["triggerhub"]["change"], key(event)) for event in ctx.events if key(event) != "zz-marker"]


async def test_a_new_file_fires_once_it_has_settled(tmp_path: Path) -> None:
    async with watching(context(), options(tmp_path)) as ctx:
        (tmp_path / "a b+c.txt").write_bytes(b"hello")
        (event,) = await ctx.arrived(1)
        record = body(event)
        assert record["eventName"] == "ObjectCreated:Put"
        assert record["s3"]["bucket"]["name"] == "inbox"
        assert record["s3"]["object"]["key"] == "a+b%2Bc.txt"
        assert record["s3"]["object"]["size"] == 5
        assert record["s3"]["object"]["eTag"] == "5d41402abc4b2a76b9719d911017c592"
        assert record["triggerhub"] == {"path": str(tmp_path / "a b+c.txt"), "change": "created"}
        (tmp_path / "a b+c.txt").write_bytes(b"hello again")
        await ctx.arrived(2)
        (tmp_path / "a b+c.txt").unlink()
        await ctx.arrived(3)
    assert [change for change, _ in told(ctx)] == ["created", "modified", "deleted"]
    removal = body(ctx.events[2])
    assert removal["eventName"] == "ObjectRemoved:Delete"
    assert set(removal["s3"]["object"]) == {"key", "sequencer"}
    sequencers = [body(event)["s3"]["object"]["sequencer"] for event in ctx.events]
    assert sequencers == sorted(set(sequencers))
    assert not [name for name in ctx.stored if name.startswith("f:")]


@pytest.fixture
def failing(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Let the disk fail for these names; each try is appended to it as ``tried``."""
    bad: list[str] = ["bad.csv"]
    real = os.open

    def read(path: str, *more: Any) -> int:
        if (name := os.path.basename(path)) in bad:
            bad.append("tried")
            raise OSError(errno.EIO, os.strerror(errno.EIO), name)
        return real(path, *more)

    monkeypatch.setattr(folder.os, "open", read)
    return bad


async def test_a_file_that_cannot_be_read_is_named_and_left_until_the_next_comparison(
    tmp_path: Path, failing: list[str]
) -> None:
    opts = options(tmp_path)
    async with watching(context(), opts) as ctx:
        for name in ("bad.csv", "good.csv"):
            (tmp_path / name).write_text(name)
        await until(lambda: ctx.reasons)
        await quiet(ctx, opts)
        assert (told(ctx), ctx.reasons) == ([("created", "good.csv")], ["cannot be read: bad.csv (Input/output error)"])
        assert failing.count("tried") == 1


@pytest.mark.parametrize("end", ["read", "deleted"])
async def test_a_file_that_could_not_be_read_is_told_once_it_can(tmp_path: Path, failing: list[str], end: str) -> None:
    async with watching(context(), options(tmp_path, reconcile="200ms")) as ctx:
        (tmp_path / "bad.csv").write_text("bad")
        await until(lambda: ctx.reasons)
        await until(lambda: failing.count("tried") > 1)
        assert len(ctx.reasons) == 1, "it is shown once"
        if end == "read":
            failing.clear()
            await ctx.arrived(1)
        else:
            (tmp_path / "bad.csv").unlink()
        await until(lambda: ctx.reasons[-1] is None)
        assert told(ctx) == ([("created", "bad.csv")] if end == "read" else [])


async def growing(path: Path) -> AsyncGenerator[int]:
    """Write 40,000 bytes into a file for longer than it takes to settle; tells of each piece."""
    with path.open("wb", buffering=0) as file:
        for number in range(40):
            file.write(b"x" * 1000)
            await anyio.sleep(0.03)
            yield number


async def test_a_file_that_is_still_written_never_fires(tmp_path: Path) -> None:
    opts = options(tmp_path, settle="300ms")
    async with watching(context(), opts) as ctx:
        async for _ in growing(tmp_path / "growing"):
            assert not ctx.events
        (event,) = await ctx.arrived(1)
        await quiet(ctx, opts)
    assert body(event)["s3"]["object"]["size"] == 40_000
    assert told(ctx) == [("created", "growing")]


async def test_a_renamed_file_that_is_still_written_never_fires(tmp_path: Path) -> None:
    opts = options(tmp_path, settle="300ms")
    async with watching(context(), opts) as ctx:
        async for number in growing(tmp_path / "log.tmp"):
            if number == 20:
                (tmp_path / "log.tmp").rename(tmp_path / "log")
            assert not ctx.events
        (event,) = await ctx.arrived(1)
    assert body(event)["s3"]["object"]["size"] == 40_000


async def test_a_complete_file_that_is_renamed_in_does_not_wait_for_the_settle_time(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    ready = tmp_path / "ready"
    ready.write_text("done")
    os.utime(ready, (1_700_000_000, 1_700_000_000.5))
    async with watching(context(), options(tmp_path / "in", settle="300s", reconcile="1h")) as ctx:
        ready.rename(tmp_path / "in" / "ready")
        await ctx.arrived(1)
    assert told(ctx) == [("created", "ready")]


async def test_where_timestamps_cannot_be_trusted_a_file_is_watched_for_the_whole_settle_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(folder, "LOCAL", frozenset())
    async with watching(context(), options(tmp_path, settle="600ms")) as ctx:
        began = time.monotonic()
        (tmp_path / "a").write_text("x")
        os.utime(tmp_path / "a", (1, 1))
        await ctx.arrived(1)
    assert time.monotonic() - began >= 0.6


async def test_an_empty_file_fires(tmp_path: Path) -> None:
    async with watching(context(), options(tmp_path)) as ctx:
        (tmp_path / "empty").touch()
        (event,) = await ctx.arrived(1)
    assert body(event)["s3"]["object"]["size"] == 0


async def test_a_rename_over_a_file_is_a_modification(tmp_path: Path) -> None:
    (tmp_path / "doc").write_text("old")
    opts = options(tmp_path)
    async with watching(context(), opts) as ctx:
        (tmp_path / "doc.tmp").write_text("new")
        (tmp_path / "doc.tmp").rename(tmp_path / "doc")
        await ctx.arrived(1)
        (tmp_path / "doc").rename(tmp_path / "doc~")
        (tmp_path / "doc").write_text("newer, the way some editors do it")
        await ctx.arrived(2)
        await quiet(ctx, opts)
    assert told(ctx) == [("modified", "doc"), ("modified", "doc")]


async def test_what_comes_and_goes_within_the_settle_time_fires_nothing(tmp_path: Path) -> None:
    opts = options(tmp_path)
    async with watching(context(), opts) as ctx:
        for number in range(20):
            (tmp_path / f"brief{number}").write_text("x")
            (tmp_path / f"brief{number}").unlink()
        await quiet(ctx, opts)
    assert told(ctx) == []
    assert [name for name in ctx.stored if name.startswith("f:brief")] == []


async def test_a_change_of_mode_fires_nothing(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("x")
    opts = options(tmp_path)
    async with watching(context(), opts) as ctx:
        (tmp_path / "a").chmod(0o600)
        await quiet(ctx, opts)
    assert told(ctx) == []


async def test_every_file_in_two_hundred_new_folders_fires_promptly(tmp_path: Path) -> None:
    async with watching(context(), options(tmp_path, reconcile="1h")) as ctx:
        for number in range(200):
            (tmp_path / str(number)).mkdir()
            (tmp_path / str(number) / "file").write_text("x")
        (tmp_path / "a" / "b" / "c").mkdir(parents=True)
        (tmp_path / "a" / "b" / "c" / "deep").write_text("x")
        await ctx.arrived(201)
    assert Counter(told(ctx)) == Counter(
        [("created", f"{number}/file") for number in range(200)] + [("created", "a/b/c/deep")]
    )


async def test_a_folder_that_is_renamed_takes_its_files_along(tmp_path: Path) -> None:
    (tmp_path / "in" / "old" / "sub").mkdir(parents=True)
    (tmp_path / "in" / "old" / "sub" / "f").write_text("x")
    opts = options(tmp_path / "in", reconcile="1h")
    async with watching(context(), opts) as ctx:
        (tmp_path / "in" / "old").rename(tmp_path / "in" / "new")
        await ctx.arrived(2)
        assert sorted(told(ctx)) == [("created", "new/sub/f"), ("deleted", "old/sub/f")]
        (tmp_path / "in" / "new").rename(tmp_path / "out")
        await ctx.arrived(3)
        (tmp_path / "out").rename(tmp_path / "in" / "newer")
        await ctx.arrived(4)
    assert told(ctx)[2:] == [("deleted", "new/sub/f"), ("created", "newer/sub/f")]


async def test_what_lies_there_at_the_first_start_is_skipped_or_told(tmp_path: Path) -> None:
    for number in range(5):
        (tmp_path / str(number)).write_text("x")
    opts = options(tmp_path)
    async with watching(context(), opts) as ctx:
        await quiet(ctx, opts)
        assert told(ctx) == []
    (tmp_path / "zz-marker").unlink()
    async with watching(context(), options(tmp_path, existing="emit")) as ctx:
        await ctx.arrived(5)
    assert sorted(told(ctx)) == [("created", str(number)) for number in range(5)]


async def test_what_changed_while_nobody_watched_fires_once_and_only_once(tmp_path: Path) -> None:
    for name in ("same", "grown", "gone"):
        (tmp_path / name).write_text("x")
    ctx = context()
    opts = options(tmp_path)
    async with watching(ctx, opts):
        pass
    (tmp_path / "grown").write_text("more")
    (tmp_path / "gone").unlink()
    (tmp_path / "new").write_text("x")
    for _ in range(3):
        ctx = context(ctx.stored)
        async with watching(ctx, opts):
            if _ == 0:
                await ctx.arrived(3)
                assert sorted(told(ctx)) == [("created", "new"), ("deleted", "gone"), ("modified", "grown")]
            await quiet(ctx, opts, f"marker{_}")
        if _:
            assert told(ctx) == [("created", f"marker{_}")]


async def test_an_emit_that_fails_is_made_up_for_at_the_next_start(tmp_path: Path) -> None:
    ctx = context()
    opts = options(tmp_path)

    async def fail() -> None:
        async with watching(ctx, opts):
            ctx.fail = OSError("gone")
            (tmp_path / "a").write_text("x")
            await anyio.sleep_forever()

    with pytest.raises(ExceptionGroup) as caught:
        await fail()
    assert caught.group_contains(OSError, match="gone", depth=None)
    assert told(ctx) == []
    async with watching(ctx, opts):
        await ctx.arrived(1)
        await quiet(ctx, opts)
    assert told(ctx) == [("created", "a")]


async def test_a_commit_that_nobody_heard_of_is_refused_by_its_key(tmp_path: Path) -> None:
    ctx = context()
    opts = options(tmp_path)
    async with watching(ctx, opts):
        before = dict(ctx.stored)
        (tmp_path / "a").write_text("x")
        await ctx.arrived(1)
    ctx.stored = before
    async with watching(ctx, opts):
        await quiet(ctx, opts)
    assert told(ctx) == [("created", "a")]


async def test_a_file_that_left_and_came_back_fires_again(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    async with watching(context(), options(tmp_path / "in", events=["created"])) as ctx:
        (tmp_path / "in" / "a").write_text("x")
        await ctx.arrived(1)
        (tmp_path / "in" / "a").rename(tmp_path / "a")
        await until(lambda: "f:a" not in ctx.stored)
        (tmp_path / "a").rename(tmp_path / "in" / "a")
        await ctx.arrived(2)
    assert told(ctx) == [("created", "a"), ("created", "a")]


async def test_a_missing_folder_is_waited_for_and_one_removed_or_replaced_too(tmp_path: Path) -> None:
    root = tmp_path / "in"
    opts = options(root)
    async with watching(context(), opts, ready=False) as ctx:
        await until(lambda: ctx.reasons)
        assert "does not exist" in str(ctx.reasons[-1])
        root.mkdir()
        (root / "a").write_text("x")
        await ctx.arrived(1)
        assert ctx.reasons[-1] is None
        root.rename(tmp_path / "away")
        await until(lambda: ctx.reasons[-1])
        assert len(ctx.events) == 1
        (tmp_path / "away").rename(root)
        await until(lambda: ctx.reasons[-1] is None)
        await quiet(ctx, opts)
        (root / "zz-marker").unlink()
        assert told(ctx) == [("created", "a")]
        root.rename(tmp_path / "old")
        root.mkdir()
        (root / "b").write_text("y")
        await until(lambda: ("created", "b") in told(ctx) and ("deleted", "a") in told(ctx))
        shutil.rmtree(root)
        root.write_text("not a folder")
        await until(lambda: ctx.reasons[-1])
        assert "Not a directory" in str(ctx.reasons[-1])


async def test_a_link_that_was_not_there_when_the_configuration_was_read_is_not_followed(tmp_path: Path) -> None:
    root, other = tmp_path / "inbox", tmp_path / "other"
    root.mkdir()
    other.mkdir()
    ctx = context(place=root)
    async with watching(ctx, options(root)):
        (root / "a").write_text("x")
        await until(lambda: told(ctx) == [("created", "a")])
        root.rename(tmp_path / "old")
        (other / "secret").write_text("x")
        root.symlink_to(other)
        await until(lambda: any("a link leads elsewhere than when" in (one or "") for one in ctx.reasons))
        root.unlink()
        root.mkdir()
        (root / "b").write_text("x")
        await until(lambda: ("created", "b") in told(ctx))
    assert "secret" not in [key for _, key in told(ctx)]


async def test_links_pipes_and_folders_never_fire(tmp_path: Path) -> None:
    root, outside = tmp_path / "in", tmp_path / "out"
    root.mkdir()
    outside.mkdir()
    (outside / "secret").write_text("x")
    opts = options(root)
    (root / "early").symlink_to(outside)
    async with watching(context(), opts) as ctx:
        (root / "link").symlink_to(outside / "secret")
        (root / "folder").symlink_to(outside)
        (root / "loop").symlink_to(root)
        os.mkfifo(root / "pipe")
        (outside / "secret").write_text("changed")
        (outside / "late").write_text("x")
        (root / "real").mkdir()
        await quiet(ctx, opts)
    assert told(ctx) == []


async def test_a_file_that_a_folder_replaces_is_deleted(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("x")
    async with watching(context(), options(tmp_path)) as ctx:
        (tmp_path / "a").unlink()
        (tmp_path / "a").mkdir()
        (tmp_path / "a" / "b").write_text("x")
        await ctx.arrived(2)
    assert sorted(told(ctx)) == [("created", "a/b"), ("deleted", "a")]


async def test_any_name_that_the_kernel_takes_fires(tmp_path: Path) -> None:
    names = [
        "new\nline",
        "blank blank",
        "a+b",
        "100%",
        "%41",
        "ünï",
        "日本",
        '"quoted"',
        "back\\slash",
        "x" * 255,
        "\udcff\udcfe",
    ]
    opts = options(tmp_path)
    async with watching(context(), opts) as ctx:
        for name in names:
            (tmp_path / name).write_text("x")
        await ctx.arrived(len(names))
        assert sorted(told(ctx)) == sorted(("created", name) for name in names)
        assert {body(event)["triggerhub"]["path"] for event in ctx.events} == {str(tmp_path / name) for name in names}
        for event in ctx.events:
            event.data.decode("ascii")
            (event.dedup_key or "").encode()
        "".join([*ctx.stored, *ctx.stored.values()]).encode()
        await quiet(ctx, opts)
    ctx = context(ctx.stored)
    async with watching(ctx, opts):
        await quiet(ctx, opts, "again")
    assert told(ctx) == [("created", "again")]


async def test_a_path_longer_than_a_key_may_be_fires(tmp_path: Path) -> None:
    deep = tmp_path / "/".join(["d" * 200] * 8)
    async with watching(context(), options(tmp_path)) as ctx:
        deep.mkdir(parents=True)
        (deep / "f").write_text("x")
        (event,) = await ctx.arrived(1)
    assert len(event.dedup_key or "") <= 1024


async def test_globs_choose_and_dotfiles_and_temporary_files_are_left_out(tmp_path: Path) -> None:
    opts = options(tmp_path, include=["**/*.csv", "zz-marker"])
    async with watching(context(), opts) as ctx:
        (tmp_path / ".git").mkdir()
        (tmp_path / "sub").mkdir()
        for name in ("a.csv", "sub/b.csv", "c.CSV", ".hidden.csv", ".git/d.csv", "e.csv.tmp", "f.csv.part", "g.csv~"):
            (tmp_path / name).write_text("x")
        await ctx.arrived(2)
        await quiet(ctx, opts)
    assert sorted(told(ctx)) == [("created", "a.csv"), ("created", "sub/b.csv")]


async def test_globs_that_come_to_select_more_tell_nothing_of_what_lay_there(tmp_path: Path) -> None:
    ctx = context()
    narrow = options(tmp_path, include=["*.csv"])
    async with watching(ctx, narrow):
        (tmp_path / "old.txt").write_text("x")
        (tmp_path / "old.csv").write_text("x")
        await ctx.arrived(1)
    (tmp_path / "late.csv").write_text("x")
    ctx = context(ctx.stored)
    wide = options(tmp_path)
    async with watching(ctx, wide):
        await ctx.arrived(1)
        await quiet(ctx, wide)
    assert told(ctx) == [("created", "late.csv")]
    ctx = context(ctx.stored)
    async with watching(ctx, narrow):
        pass
    assert sorted(name for name in ctx.stored if name.startswith("f:")) == ["f:late.csv", "f:old.csv"]


async def test_another_folder_starts_from_scratch(tmp_path: Path) -> None:
    one, two = tmp_path / "one", tmp_path / "two"
    for root in (one, two):
        root.mkdir()
        (root / root.name).write_text("x")
    ctx = context()
    async with watching(ctx, options(one)):
        pass
    ctx = context(ctx.stored)
    opts = options(two)
    async with watching(ctx, opts):
        await quiet(ctx, opts)
    assert told(ctx) == []
    assert "f:one" not in ctx.stored


async def test_what_is_not_asked_for_is_kept_in_the_inventory_without_an_event(tmp_path: Path) -> None:
    opts = options(tmp_path, events=["modified"])
    async with watching(context(), opts) as ctx:
        (tmp_path / "a").write_text("x")
        await until(lambda: "f:a" in ctx.stored)
        assert ctx.events == []
        (tmp_path / "a").write_text("xy")
        await ctx.arrived(1)
    assert told(ctx) == [("modified", "a")]


async def test_a_hubs_data_folder_is_not_looked_into(tmp_path: Path) -> None:
    (tmp_path / "var").mkdir()
    for name in ("hub.lock", "hub.db"):
        (tmp_path / "var" / name).touch()
    opts = options(tmp_path)
    async with watching(context(), opts) as ctx:
        (tmp_path / "var" / "hub.db-wal").write_text("x")
        (tmp_path / "var" / "logs").mkdir()
        (tmp_path / "var" / "logs" / "echo").write_text("x")
        await quiet(ctx, opts)
    assert told(ctx) == []
    async with watching(context(), options(tmp_path / "var" / "logs"), ready=False) as ctx:
        await until(lambda: ctx.reasons)
    assert "data folder" in str(ctx.reasons[-1])


async def test_an_inotify_limit_is_explained_and_the_folder_polled_until_it_is_lifted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = inotify.RustNotify
    text = "Error creating recommended watcher: Too many open files (os error 24)"

    def refuse(*_: object) -> None:
        raise inotify.WatchfilesRustInternalError(text)

    monkeypatch.setattr(inotify, "RustNotify", refuse)
    async with watching(context(), options(tmp_path, reconcile="2s")) as ctx:
        await until(lambda: ctx.reasons)
        assert "fs.inotify.max_user_instances" in str(ctx.reasons[-1])
        (tmp_path / "a").write_text("x")
        await ctx.arrived(1)
        monkeypatch.setattr(inotify, "RustNotify", real)
        await until(lambda: ctx.reasons[-1] is None)
        (tmp_path / "b").write_text("x")
        await ctx.arrived(2)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become nobody")
async def test_a_folder_that_may_not_be_read_is_shown_and_its_files_are_not_taken_for_deleted() -> None:
    root = Path("/tmp") / f"triggerhub-test-{os.getpid()}"
    shut = root / "shut"
    shut.mkdir(parents=True)
    try:
        (shut / "kept").write_text("x")
        for path in (root, shut, shut / "kept"):
            os.chown(path, 65534, -1)
        opts = options(root, reconcile="1s")
        os.seteuid(65534)
        try:
            async with watching(context(), opts) as ctx:
                assert "f:shut/kept" in ctx.stored
                shut.chmod(0)
                await until(lambda: ctx.reasons)
                assert "shut" in str(ctx.reasons[-1])
                await quiet(ctx, opts)
                assert told(ctx) == []
                shut.chmod(0o700)
                await until(lambda: ctx.reasons[-1] is None)
                await quiet(ctx, opts, "zz-second")
                assert told(ctx) == [("created", "zz-second")]
        finally:
            os.seteuid(0)
    finally:
        shutil.rmtree(root)


async def test_nothing_is_lost_while_the_backlog_is_full(tmp_path: Path) -> None:
    class Full(FakeContext):
        room = anyio.Event()

        async def emit(self, *events: Event, **given: Any) -> Any:
            if events:
                await self.room.wait()
            return await super().emit(*events, **given)

    ctx = Full(trigger("inbox", "files", backlog=10), clock=WallClock())
    async with watching(ctx, options(tmp_path)):
        for number in range(50):
            (tmp_path / str(number)).write_text("x")
        await anyio.sleep(0.3)
        for number in range(50, 100):
            (tmp_path / str(number)).write_text("x")
        ctx.room.set()
        await ctx.arrived(100)
    assert Counter(told(ctx)) == Counter(("created", str(number)) for number in range(100))


async def test_an_event_that_the_hub_refuses_does_not_hold_up_the_others(tmp_path: Path) -> None:
    class Picky(FakeContext):
        async def emit(self, *events: Event, **given: Any) -> Any:
            if any(key(event) == "bad" for event in events):
                raise files.BadInput("its key is too long")
            return await super().emit(*events, **given)

    ctx = Picky(trigger("inbox", "files"), clock=WallClock())
    opts = options(tmp_path)
    async with watching(ctx, opts):
        for name in ("a", "bad", "c"):
            (tmp_path / name).write_text("x")
        await ctx.arrived(2)
        await quiet(ctx, opts)
    assert sorted(told(ctx)) == [("created", "a"), ("created", "c")]
    assert "f:bad" in ctx.stored


async def test_two_thousand_files_at_once_fire_once_each(tmp_path: Path) -> None:
    async with watching(context(), options(tmp_path, reconcile="1s")) as ctx:
        for number in range(2000):
            (tmp_path / str(number)).write_text("x")
        await ctx.arrived(2000, within=30)
    assert Counter(told(ctx)) == Counter(("created", str(number)) for number in range(2000))
    assert inventory.read(ctx.stored).keys() == {str(number) for number in range(2000)}


async def test_it_stops_at_once(tmp_path: Path) -> None:
    with anyio.fail_after(5):
        async with watching(context(), options(tmp_path, settle="1h", reconcile="1h")):
            (tmp_path / "a").write_text("x")
            await anyio.sleep(0.1)


async def test_forty_watches_leave_the_threads_of_others_alone(tmp_path: Path) -> None:
    async with anyio.create_task_group() as tasks:
        contexts, opts = [context() for _ in range(45)], options(tmp_path)
        for ctx in contexts:
            tasks.start_soon(files.run, ctx, opts)
        await until(lambda: all(settled(ctx, opts) for ctx in contexts))
        with anyio.fail_after(10):
            assert await anyio.to_thread.run_sync(lambda: 42) == 42
        tasks.cancel_scope.cancel()


@pytest.fixture
def volume(tmp_path: Path) -> Iterator[Callable[..., None]]:
    """Mount and unmount a volume at *tmp_path*/volume, with the same files each time."""
    (tmp_path / "disk").mkdir()
    (tmp_path / "volume").mkdir()
    place = str(tmp_path / "volume")

    def mount(*, there: bool) -> None:
        order = ["mount", "--bind", str(tmp_path / "disk"), place] if there else ["umount", "--lazy", place]
        done = subprocess.run(order, capture_output=True, text=True, check=False, timeout=20)
        if done.returncode and there:
            pytest.skip(f"mounting is not allowed here: {done.stderr.strip()}")

    mount(there=True)
    yield mount
    mount(there=False)


@pytest.mark.parametrize("restart", [False, True], ids=["while it runs", "while it is down"])
async def test_a_volume_that_is_unmounted_and_comes_back_tells_nothing(
    tmp_path: Path, volume: Callable[..., None], restart: bool
) -> None:
    root = tmp_path / "volume"
    opts, ctx = options(root, reconcile="200ms"), context()
    async with watching(ctx, opts):
        (root / "a").write_text("a")
        await until(lambda: len(ctx.events) == 1)
        if not restart:
            volume(there=False)
            await until(lambda: ctx.reasons and ctx.reasons[-1])
            assert ctx.reasons[-1] == f"{root} cannot be watched: the volume that was mounted there is not"
            volume(there=True)
            await until(lambda: ctx.reasons[-1] is None)
            await quiet(ctx, opts)
    if restart:
        volume(there=False)
        async with watching(ctx, opts, ready=False):
            await until(lambda: ctx.reasons and ctx.reasons[-1])
            volume(there=True)
            await quiet(ctx, opts)
    assert [key(event) for event in ctx.events] == ["a", "zz-marker"]


async def test_a_folder_in_the_place_of_a_volume_is_watched_once_something_is_in_it(
    tmp_path: Path, volume: Callable[..., None]
) -> None:
    root = tmp_path / "volume"
    opts, ctx = options(root, reconcile="200ms"), context()
    async with watching(ctx, opts):
        (root / "a").write_text("a")
        await until(lambda: len(ctx.events) == 1)
        volume(there=False)
        await until(lambda: ctx.reasons and ctx.reasons[-1])
        (root / "b").write_text("b")
        await until(lambda: len(ctx.events) == 3)
    assert sorted((key(event), body(event)["triggerhub"]["change"]) for event in ctx.events[1:]) == [
        ("a", "deleted"), ("b", "created"),
    ]  # fmt: skip


async def test_a_notice_while_a_scan_is_worked_off_does_not_make_another(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(files, "OVERFLOW", 300)
    monkeypatch.setattr(files, "CHUNK", 10)
    scans = 0
    scan = files.Watch._scan

    async def counted(self: files.Watch) -> bool:
        nonlocal scans
        scans += 1
        return await scan(self)

    monkeypatch.setattr(files.Watch, "_scan", counted)
    for number in range(2000):
        (tmp_path / f"f{number}").write_text("x")
    opts, ctx = options(tmp_path, existing="emit", reconcile="1h"), context()
    async with watching(ctx, opts, ready=False):
        with anyio.fail_after(30):
            while sum(key(event).startswith("f") for event in ctx.events) < 2000:
                (tmp_path / "trickle").write_text(str(time.monotonic()))
                await anyio.sleep(0.02)
    assert scans <= 4
