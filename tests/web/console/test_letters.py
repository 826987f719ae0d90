"""Which functions are to be chosen first where dead letters are of many."""

from __future__ import annotations

import re
from types import SimpleNamespace
from typing import Any

from starlette.requests import Request

from triggerhub.policy.grouping import Group
from triggerhub.web.console import render
from triggerhub.web.console.letters import FUNCTIONS, Letters


async def test_the_functions_with_the_most_dead_letters_are_shown_and_the_others_unfolded() -> None:
    def died(number: int, cause: str) -> Group:
        name, count = f"fn-{number:02}", number
        return Group(function=name, fingerprint=cause, sample=cause, count=count, first=0, last=0, newest="x")

    async def graves(_: Request) -> list[Group]:
        return [died(number, cause) for number in range(1, 21) for cause in ("E: one", "E: two")]

    frame: Any = SimpleNamespace(graves=graves, common=lambda: {"now": 0, "mask": None})
    hub: Any = None
    render.sources()
    request = Request({"type": "http", "query_string": b"", "headers": []})
    page = bytes((await Letters(hub, frame).groups(request)).body).decode()
    shown, _, folded = page.partition("<details>")
    chips = re.compile(r">(fn-\d\d) <b>(\d+)</b></a>")
    assert chips.findall(shown) == [(f"fn-{n:02}", str(2 * n)) for n in range(20, 20 - FUNCTIONS, -1)]
    assert folded.startswith("<summary>8 more</summary>")
    assert chips.findall(folded) == [(f"fn-{n:02}", str(2 * n)) for n in range(8, 0, -1)]
