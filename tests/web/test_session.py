"""Many who sign in at once hold nobody up for long."""

from __future__ import annotations

import threading

import anyio
import pytest

from triggerhub.policy import password
from triggerhub.settings import ConsoleSettings
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
