"""Many who sign in hold nobody up for long, and nobody out."""

from __future__ import annotations

import threading

import anyio
import pytest

from triggerhub.policy import password
from triggerhub.policy.access import FREE
from triggerhub.settings import ConsoleSettings, Secret, User
from triggerhub.web import session
from triggerhub.web.session import Sessions


async def test_only_so_many_passwords_wait_to_be_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    go_on = threading.Event()

    def fits(word: str, hashed: str) -> bool:
        go_on.wait(20)
        return False

    monkeypatch.setattr(password, "fits", fits)
    sessions = Sessions(ConsoleSettings)
    with anyio.fail_after(20):
        async with anyio.create_task_group() as many:
            for number in range(session.WAITING + 1):
                assert not sessions.crowded
                many.start_soon(sessions.enter, f"192.0.2.{number}", "anna", "guess")
                await anyio.wait_all_tasks_blocked()
            assert sessions.crowded
            go_on.set()
    assert not sessions.crowded


@pytest.fixture
def sessions(monkeypatch: pytest.MonkeyPatch) -> Sessions:
    monkeypatch.setattr(password, "fits", lambda word, hashed: word == "right")
    users = {name: User(hash=Secret("hash")) for name in ("anna", "olga", "bob")}
    return Sessions(lambda: ConsoleSettings(auth="password", users=users))


async def entered(sessions: Sessions, name: str, count: int = 1) -> list[str]:
    keys = [await sessions.enter("192.0.2.1", name, "right") for _ in range(count)]
    return [key for key in keys if key is not None]


def alive(sessions: Sessions, keys: list[str]) -> list[bool]:
    return [sessions.find(key, touch=False) is not None for key in keys]


async def test_who_signs_in_often_ends_his_own_sessions_those_first_that_rest(
    sessions: Sessions, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(session, "EACH", 3)
    others, own = await entered(sessions, "olga"), await entered(sessions, "anna", 3)
    sessions.find(own[0])
    own += await entered(sessions, "anna", 1)
    assert alive(sessions, own) == [True, False, True, True]
    own += await entered(sessions, "anna", 10)
    assert alive(sessions, own) == [False] * 11 + [True] * 3
    assert alive(sessions, others) == [True]


async def test_where_there_are_too_many_sessions_those_of_others_end_last(
    sessions: Sessions, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(session, "MOST", 3)
    others, own = await entered(sessions, "olga"), await entered(sessions, "anna", 9)
    assert (alive(sessions, others), alive(sessions, own)) == ([True], [False] * 7 + [True] * 2)
    new = await entered(sessions, "bob")
    assert alive(sessions, [*others, *own[-2:], *new]) == [False, True, True, True]


async def test_who_fails_from_many_addresses_of_his_network_waits(sessions: Sessions) -> None:
    for number in range(FREE):
        assert sessions.wait(f"2001:db8::{number}") == 0
        assert await sessions.enter(f"2001:db8::{number}", "anna", "guess") is None
    assert sessions.wait("2001:db8::ffff:ffff:ffff:ffff") > 0
    assert sessions.wait("2001:db8:0:1::1") == 0
    assert await sessions.enter("2001:db8:0:1::1", "anna", "right") is not None
