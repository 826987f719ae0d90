"""What was a secret once is dots as long as the hub runs."""

from __future__ import annotations

import json
import re
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

import triggerhub.hub.veil
from triggerhub.hub.call import Tap
from triggerhub.hub.clock import SystemClock
from triggerhub.hub.feed import Feed
from triggerhub.hub.veil import REMEMBERED, Veil, unveiled
from triggerhub.model import Delivery, Fault
from triggerhub.settings import Function, HubSettings, Project, Secret
from triggerhub.store import Query
from triggerhub.telemetry.metrics import Metrics
from triggerhub.telemetry.report import before


def project(*secrets: str) -> Project:
    env = {f"S{number}": Secret(text) for number, text in enumerate(secrets)}
    functions = {"f": Function(name="f", runtime="python", env=env)}
    return Project(
        hub=HubSettings(project=Path("/p"), handlers=Path("/p/h"), data=Path("/p/v")), functions=functions, triggers={}
    )


def test_a_secret_that_was_replaced_is_one_still() -> None:
    current = project()
    veil = Veil(lambda: current)
    assert veil.text("hunter2 and swordfish") == "hunter2 and swordfish"
    current = project("hunter2")
    assert veil.text("hunter2 and swordfish") == "••• and swordfish"
    current = project("swordfish")
    assert veil.text("hunter2 and swordfish") == "••• and •••"
    assert veil.payload(b'{"t":"hunter2"}') == '{"t":"•••"}'.encode()


def test_so_many_are_remembered_and_those_in_force_always() -> None:
    current = project("the first")
    veil = Veil(lambda: current)
    assert veil.text("the first") == "•••"
    current = project(*(f"secret-{number:05}" for number in range(REMEMBERED + 1)))
    assert veil.text(f"secret-00000 secret-{REMEMBERED:05} the first") == "••• ••• the first"


def test_the_mask_of_what_is_read_is_made_where_it_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[int] = []
    make = triggerhub.hub.veil.mask
    monkeypatch.setattr(triggerhub.hub.veil, "mask", lambda found: made.append(threading.get_ident()) or make(found))
    current = project("hunter2")
    veil = Veil(lambda: current)
    assert veil.text("hunter2 and swordfish") == "••• and swordfish"
    after = project("swordfish")
    with ThreadPoolExecutor(1) as threads:
        found = threads.submit(veil.ahead(lambda: (after, {}, []))).result()
    assert found[0] is after
    assert veil.text("hunter2 and swordfish") == "••• and swordfish", "it is not in force yet"
    current = after
    assert veil.text("hunter2 and swordfish") == "••• and •••"
    current = project("swordfish")
    assert veil.text("hunter2 and swordfish") == "••• and •••"
    assert [one == threading.get_ident() for one in made] == [True, False], "what has no other secrets needs none"


def test_whoever_may_not_see_what_events_carry_knows_errors_by_their_cause() -> None:
    current = project("hunter2")
    veil, other = Veil(lambda: current), Veil(lambda: current)
    first, again, another = (
        veil.fault(Fault(type="LookupError", message=text), told=False)
        for text in ("order 7 of anna@example.com", "order 9 of anna@example.com", "order 7 of bob@example.com")
    )
    assert first == again != another
    assert first is not None
    assert re.fullmatch("••• [0-9a-f]{12}", first.message)
    assert veil.cause("E", "hunter2") == veil.cause("E", "•••"), "a secret is no part of it"
    assert veil.cause("E", "x") != other.cause("E", "x"), "nobody can make it who is not the hub"


@pytest.mark.parametrize(("told", "typed"), [(True, False), (False, True)])
async def test_no_message_is_looked_at_for_one_who_may_not_see_it(told: bool, typed: bool) -> None:
    asked: list[Query] = []

    class Store:
        async def page(self, query: Query) -> list[Delivery]:
            asked.append(query)
            return []

    veil = Veil(project)
    assert await unveiled(cast("Any", Store()), Query(error="sold out"), veil, told=told) == []
    assert [(one.error, one.typed) for one in asked] == [("sold out", typed)]


def test_the_type_of_an_error_is_masked_like_its_message() -> None:
    current = project("hunter2")
    shown = Veil(lambda: current).fault(Fault(type="hunter2Error", message="no hunter2"), told=True)
    assert shown == Fault(type="•••Error", message="no •••")


def test_what_the_hub_says_of_where_a_handler_wanted_to_go_is_masked() -> None:
    kept: list[str] = []
    output = SimpleNamespace(write=lambda function, request, stream, text: kept.append(text))
    current = project("hunter2")
    tap = Tap(output, Feed(), SystemClock(), Metrics(), Veil(lambda: current).text)
    function = current.functions["f"]
    tap.write(function, None, "hub", "hunter2.example:443 is not in its network")
    tap.write(function, "r", "hub", "START RequestId: hunter2 Version: 1")
    (line,) = before("hunter2", "1", level="INFO", now=0)
    tap.write(function, "r", "hub", line)
    assert kept == ["•••.example:443 is not in its network", "START RequestId: hunter2 Version: 1", line]
    tap.write(replace(function, env={"AWS_LAMBDA_LOG_FORMAT": "JSON"}), None, "hub", "hunter2.example:443")
    assert json.loads(kept[-1])["record"] == {"message": "•••.example:443"}
