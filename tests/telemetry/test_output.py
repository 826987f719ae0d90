"""What functions write is kept, bounded, and lent to those who look."""

from __future__ import annotations

import asyncio
import errno
import json
import os
import shutil
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import structlog
from hypothesis import given
from hypothesis import strategies as st

from triggerhub.settings import DAY, Function
from triggerhub.telemetry import archive, output
from triggerhub.telemetry.output import BEHIND, FOLLOWED, Line, OutputLog

F = Function(name="f", runtime="python", version="abc")
G = Function(name="g", runtime="python")
NOON = 1_767_268_800_000  # 2026-01-01T12:00:00Z


class Clock:
    def __init__(self, now: int = NOON) -> None:
        self.now = now

    def __call__(self) -> int:
        return self.now


def texts(lines) -> list[str]:
    return [line["text"] for line in lines]


async def until(condition, within: float = 20) -> None:
    end = time.monotonic() + within
    while not condition():
        assert time.monotonic() < end
        await asyncio.sleep(0.01)


async def test_lines_reach_the_disk_by_themselves_and_the_rest_when_it_closes(tmp_path: Path) -> None:
    log = OutputLog(tmp_path, now=Clock())
    file = tmp_path / "2026-01-01.jsonl"
    async with log.open():
        log.write(F, "r1", "stdout", "hello")
        await until(lambda: file.exists() and file.stat().st_size)
        log.write(F, None, "stderr", "world")
    assert [json.loads(line) for line in file.read_text().splitlines()] == [
        {"time": NOON, "function": "f", "version": "abc", "request_id": "r1", "stream": "stdout", "text": "hello"},
        {"time": NOON, "function": "f", "version": "abc", "request_id": None, "stream": "stderr", "text": "world"},
    ]


def test_read_gives_the_newest_that_fit_oldest_first(tmp_path: Path) -> None:
    clock = Clock()
    log = OutputLog(tmp_path, now=clock)
    for number in range(10):
        log.write(F if number % 2 else G, f"r{number // 4}", "stdout", str(number))
        clock.now += DAY // 4
    assert texts(log.read()) == [str(n) for n in range(10)]
    assert texts(log.read(limit=3)) == ["7", "8", "9"]
    assert texts(log.read(function="f")) == ["1", "3", "5", "7", "9"]
    assert texts(log.read(request_ids={"r0", "r2"})) == ["0", "1", "2", "3", "8", "9"]
    assert texts(log.read(since=NOON + DAY)) == ["4", "5", "6", "7", "8", "9"]
    assert texts(log.read(function="f", request_ids=["r1"], since=NOON + DAY + 1, limit=1)) == ["7"]
    assert log.read(function="nobody") == []


def test_a_moment_ends_the_reading_but_not_at_a_clock_that_is_set_a_little(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = Clock()
    log = OutputLog(tmp_path, now=clock)
    for seconds, text in ((-7200, "old"), (-120, "before"), (5, "after"), (-50, "set back"), (10, "on")):
        clock.now = NOON + seconds * 1000
        log.write(F, "r", "stdout", text)
    read: list[str] = []
    backwards = archive.Archive.backwards

    def seen(self: archive.Archive, since: int | None = None) -> Iterator[Line]:
        for line in backwards(self, since):
            read.append(line["text"])
            yield line

    monkeypatch.setattr(archive.Archive, "backwards", seen)
    assert texts(log.read(since=NOON)) == ["after", "on"]
    assert read == ["on", "set back", "after", "before"]


def test_how_much_was_written_is_known_by_function(tmp_path: Path) -> None:
    log = OutputLog(tmp_path, now=Clock())
    for function in (F, G, F):
        log.write(function, "r", "stdout", "text")
    assert (log.wrote("f"), log.wrote("g"), log.wrote("nobody"), log.wrote()) == (2, 1, 0, 3)


def test_a_text_is_searched_as_it_is_shown(tmp_path: Path) -> None:
    log = OutputLog(tmp_path, now=Clock())
    log.write(F, "r", "stdout", "the password is hunter2")
    shown = {"hide": lambda text: text.replace("hunter2", "•••")}
    assert log.read(search="hunt", **shown) == []
    assert texts(log.read(search="password", **shown)) == ["the password is hunter2"]


def test_a_text_is_searched_in_the_newest_lines_whatever_its_case(tmp_path: Path, monkeypatch) -> None:
    log = OutputLog(tmp_path, now=Clock())
    for text in ("Straße gesperrt", "all is well", "STRASSE frei", "50% of [it]"):
        log.write(F, "r", "stdout", text)
    assert texts(log.read(search="strasse")) == ["Straße gesperrt", "STRASSE frei"]
    assert texts(log.read(search="strasse", limit=1)) == ["STRASSE frei"]
    assert texts(log.read(search="% of [")) == ["50% of [it]"]
    assert texts(log.read(search="strasse", function="g")) == []
    monkeypatch.setattr(output, "SEARCHED", 2)
    assert texts(log.read(search="strasse")) == ["STRASSE frei"]


def test_lines_longer_than_a_block_are_read_whole(tmp_path: Path) -> None:
    log = OutputLog(tmp_path, now=Clock())
    written = ["a" * 100_000, "é" * 100_000, "x", "y" * archive._BLOCK]
    for text in written:
        log.write(F, "r", "stdout", text)
    assert texts(log.read()) == written


@given(st.text(st.characters(exclude_categories=())))
def test_any_text_is_kept_and_no_control_character_is_raw_in_the_file(tmp_path_factory, text: str) -> None:
    folder = tmp_path_factory.mktemp("log")
    log = OutputLog(folder, now=Clock())
    log.write(F, "r", "stdout", text)
    assert texts(log.read()) == [text]
    raw = (folder / "2026-01-01.jsonl").read_text("utf-8")
    assert raw.count("\n") == 1
    assert not any(ord(c) < 0x20 or 0x7F <= ord(c) < 0xA0 for c in raw.rstrip("\n"))


def test_a_disk_that_fails_costs_lines_but_never_a_handler(tmp_path: Path, monkeypatch) -> None:
    log = OutputLog(tmp_path, now=Clock(), buffer=3000)
    log.write(F, "r", "stdout", "kept before")
    log.flush()
    real = os.write
    written = 0

    def full(file: int, data) -> int:
        nonlocal written
        if written:
            raise OSError(errno.ENOSPC, "No space left on device")
        written = 5
        return real(file, bytes(data)[:5])

    with monkeypatch.context() as patch:
        patch.setattr(archive.os, "write", full)
        for number in range(20):
            log.write(F, "r", "stdout", f"{number:0100d}")
        log.flush()
        assert log.trouble == "No space left on device"
        assert texts(OutputLog(tmp_path, now=Clock()).read()) == ["kept before"]
    assert (log.dropped, len(log.read())) == (10, 12)
    assert log.trouble is None
    assert texts(log.read())[1:] == [f"{n:0100d}" for n in range(10)] + [
        "10 log lines were dropped: No space left on device"
    ]
    log.write(F, "r", "stdout", "after")
    assert texts(log.read(limit=1)) == ["after"]


def test_a_disk_that_comes_and_goes_is_told_of_once_a_while(tmp_path: Path) -> None:
    folder = tmp_path / "logs"
    log = OutputLog(folder, now=Clock())
    with structlog.testing.capture_logs() as told:
        for _ in range(3):
            folder.write_text("no folder")
            for _ in range(3):
                log.write(F, "r", "stdout", "a line")
                log.flush()
            assert (
                log.complaint
                == f"what functions write cannot be kept in {folder}: File exists; the newest wait in memory"
            )
            folder.unlink()
            log.flush()
            assert log.complaint is None
            shutil.rmtree(folder)
            log._archive.close()
    assert [one["event"] for one in told] == [
        "what functions write cannot be kept",
        "what functions write is kept again",
    ]
    assert told[1]["lost"] == 0


def test_what_is_left_of_a_nearly_full_disk_is_not_for_logs(tmp_path: Path, monkeypatch) -> None:
    log = OutputLog(tmp_path, now=Clock())
    monkeypatch.setattr(archive, "_SPARE", 1)
    monkeypatch.setattr(archive, "_SPARE_MOST", 1 << 60)
    log.write(F, "r", "stdout", "too much")
    log.flush()
    assert log.trouble == "the rest of the disk is kept for the queue"
    monkeypatch.setattr(archive, "_SPARE_MOST", 0)
    log.flush()
    assert log.trouble is None
    assert texts(log.read()) == ["too much"]


async def test_a_slow_disk_is_never_waited_for(tmp_path: Path) -> None:
    (tmp_path / "logs").write_text("a file where the folder should be")
    log = OutputLog(tmp_path / "logs", now=Clock(), buffer=100_000)
    async with log.open():
        for number in range(2000):
            log.write(F, "r", "stdout", str(number))
        await until(lambda: log.trouble is not None)
        (tmp_path / "logs").unlink()
        await until(lambda: log.trouble is None)
    lines = texts(log.read(limit=5000))
    assert lines[-1].startswith(f"{log.dropped} log lines were dropped")
    assert len(lines) - 1 + log.dropped == 2000


def test_a_torn_last_line_is_passed_over_and_never_spoils_the_next(tmp_path: Path) -> None:
    (tmp_path / "2026-01-01.jsonl").write_bytes(b'{"time":1,"function":"f","text":"a"}\n\xff{"tim')
    log = OutputLog(tmp_path, now=Clock())
    log.write(F, "r", "stdout", "b")
    assert texts(log.read()) == ["a", "b"]


def test_retention_by_days_and_by_size(tmp_path: Path) -> None:
    clock = Clock()
    log = OutputLog(tmp_path, now=clock, keep=2 * DAY, keep_size=8000)
    (tmp_path / "notes.txt").write_text("not ours")
    for _ in range(4):
        log.write(F, "r", "stdout", "x" * 100)
        log.flush()
        clock.now += DAY
    clock.now -= DAY
    log.retain()
    assert sorted(p.name for p in tmp_path.iterdir()) == [
        "2026-01-02.jsonl",
        "2026-01-03.jsonl",
        "2026-01-04.jsonl",
        "notes.txt",
    ]
    with structlog.testing.capture_logs() as told:
        log.flush()
        assert told == [], "those went in their time"
        for number in range(200):
            log.write(F, "r", "stdout", f"{number:0100d}")
            log.flush()
        log.retain()
    assert [(one["event"].partition(":")[0], one["until"]) for one in told] == [
        ("what functions wrote was removed before its time", "2026-01-04")
    ]
    size = sum(p.stat().st_size for p in tmp_path.glob("*.jsonl"))
    assert 4000 < size <= 8000
    assert texts(log.read(limit=2)) == [f"{198:0100d}", f"{199:0100d}"]
    kept = [int(text) for text in texts(log.read())]
    assert kept == list(range(kept[0], 200))


async def test_followers_see_lines_from_now_on(tmp_path: Path) -> None:
    log = OutputLog(tmp_path, now=Clock())
    log.write(F, "r", "stdout", "before")
    async with log.follow("f") as lines:
        log.write(G, "r", "stdout", "of another")
        log.write(F, "r", "stdout", "a")
        log.write(F, "r", "stderr", "b")
        assert [(await anext(lines))["text"] for _ in range(2)] == ["a", "b"]
        for number in range(FOLLOWED + 5):
            log.write(F, "r", "stdout", str(number))
        assert [(await anext(lines))["text"] for _ in range(2)] == ["5 lines skipped", "5"]
    told = replace(F, env={"AWS_LAMBDA_LOG_FORMAT": "JSON"})
    async with log.follow("f") as lines:
        for number in range(FOLLOWED + 5):
            log.write(told, "r", "stdout", str(number))
        assert json.loads((await anext(lines))["text"])["record"] == {"message": "5 lines skipped"}
    assert log._followers == set()


async def test_a_slow_follower_is_behind_by_no_more_than_so_much_text(tmp_path: Path) -> None:
    log, size = OutputLog(tmp_path, now=Clock()), BEHIND // 8
    async with log.follow() as lines:
        for number in range(20):
            log.write(F, "r", "stdout", f"{number:0{size}}")
        for turn in ["12 lines skipped", *(f"{number:0{size}}" for number in range(12, 20))]:
            assert (await anext(lines))["text"] == turn
        # What was taken is no longer behind.
        for number in range(8):
            log.write(F, "r", "stdout", f"{number:0{size}}")
        assert (await anext(lines))["text"] == "0" * size


def test_only_the_owner_can_read_the_logs(tmp_path: Path) -> None:
    log = OutputLog(tmp_path / "logs", now=Clock())
    log.write(F, "r", "stdout", "x")
    log.flush()
    assert (tmp_path / "logs").stat().st_mode & 0o777 == 0o700
    assert (tmp_path / "logs" / "2026-01-01.jsonl").stat().st_mode & 0o777 == 0o600
