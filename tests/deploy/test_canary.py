"""A canary stands in its function's record: one change begins it with its weight, one ends it with the alias."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from tests.deploy.test_rollback import deployed
from triggerhub.deploy.canary import SCOPE, Tallies, begun, ended, running
from triggerhub.deploy.record import Alias, Deployed, from_json, written
from triggerhub.errors import BadInput, Conflict, NotFound, TriggerhubError
from triggerhub.policy.canary import Tally, Terms
from triggerhub.stores.memory import MemoryStore

TERMS = Terms(most=5, length=600_000, least=20)
LIVE = {"live": Alias(version="1", revision="r", description="d")}


def begin(one: Deployed, alias: str | None = None, to: str | None = None) -> Deployed:
    return begun(one, alias, to, weight=0.1, terms=TERMS, now=5, revision="new")[0]


def test_it_begins_with_the_newest_version_at_the_only_alias() -> None:
    made, alias = begun(
        deployed("c", "a", "b", "c", aliases=LIVE), None, None, weight=0.1, terms=TERMS, now=5, revision="new"
    )
    live = made.aliases["live"]
    assert (alias, live.version, live.weights, live.revision, live.description) == ("live", "1", {"3": 0.1}, "new", "d")
    assert live.canary is not None
    assert (live.canary.version, live.canary.most, live.canary.length, live.canary.least) == ("3", 5, 600_000, 20)
    assert [(one.name, name, canary.version) for one, name, canary in running({"f": made})] == [("f", "live", "3")]
    assert from_json(json.loads(written(made))) == made


@pytest.mark.parametrize(("state", "lands"), [("promoted", "2"), ("rolled back", "1")])
def test_its_end_leaves_the_alias_at_one_version(state: Any, lands: str) -> None:
    made = begin(deployed("c", "a", "b", aliases=LIVE))
    done = ended(made, "live", state, tally=Tally(calls=9, errors=2), why="w", now=7, revision="end", only="new")
    live = done.aliases["live"]
    assert (live.version, live.weights, live.revision) == (lands, {}, "end")
    assert live.before == ("1" if lands == "2" else ""), "where a rollback of the alias leads"
    assert live.canary is not None
    assert (live.canary.state, live.canary.ended, live.canary.calls, live.canary.errors, live.canary.why) == (
        state, 7, 9, 2, "w",
    )  # fmt: skip
    assert list(running({"f": done})) == []
    assert begin(done, to="1" if lands == "2" else "2").aliases["live"].weights
    again = ended(done, "live", "promoted", tally=Tally(), why="", now=8, revision="x", only="new")
    assert again is done, "what was ended meanwhile is not ended again"


def test_another_one_is_not_ended_in_its_place() -> None:
    made = begin(deployed("c", "a", "b", aliases=LIVE))
    assert ended(made, "live", "promoted", tally=Tally(), why="", now=8, revision="x", only="before") is made


ON_LATEST = {"live": Alias(version="$LATEST", revision="r")}
TWO = {**LIVE, "other": Alias(version="1", revision="r")}
WEIGHTED = {"live": Alias(version="1", weights={"2": 0.5}, revision="r")}


@pytest.mark.parametrize(
    ("kind", "says", "go"),
    [
        (BadInput, "f has no aliases", lambda: begin(deployed("a", "a"))),
        (BadInput, "f has several aliases", lambda: begin(deployed("a", "a", "b", aliases=TWO))),
        (NotFound, "f has no alias 'blue'", lambda: begin(deployed("a", "a", "b", aliases=LIVE), "blue")),
        (BadInput, r"live leads to \$LATEST", lambda: begin(deployed("a", "a", aliases=ON_LATEST))),
        (BadInput, "f has no version but 1", lambda: begin(deployed("a", "a", aliases=LIVE))),
        (BadInput, "leads to version 1 as it is", lambda: begin(deployed("a", "a", "b", aliases=LIVE), to="1")),
        (NotFound, "f has no version '9'", lambda: begin(deployed("a", "a", "b", aliases=LIVE), to="9")),
        (Conflict, "a part of its calls to version 2", lambda: begin(deployed("a", "a", "b", aliases=WEIGHTED))),
        (Conflict, "tries version 2 already", lambda: begin(begin(deployed("a", "a", "b", aliases=LIVE)))),
        (Conflict, "tries no version now", lambda: ended(
            deployed("a", "a", aliases=LIVE), "live", "promoted", tally=Tally(), why="", now=1, revision="r")),
    ],
)  # fmt: skip
def test_one_that_cannot_be_is_refused(kind: type[TriggerhubError], says: str, go: Any) -> None:
    with pytest.raises(kind, match=says):
        go()


async def test_what_was_counted_is_there_after_a_restart_and_goes_with_its_canary() -> None:
    store, tallies = MemoryStore(), None
    canary = begin(deployed("c", "a", "b", aliases=LIVE)).aliases["live"].canary
    assert canary is not None
    for calls in (3, 8):
        tallies = Tallies(store)
        await tallies.load()
        assert tallies.of(canary).calls == (0 if calls == 3 else 3)
        await tallies.keep(canary.id, Tally(calls=calls, errors=1, watched=9))
    await store.set_checkpoints(SCOPE, {"odd": "{", "gone": json.dumps({"calls": 1})})
    tallies = Tallies(store)
    await tallies.load()
    assert tallies.of(canary) == Tally(calls=8, errors=1, watched=9)
    await tallies.drop_but({canary.id})
    assert set(await store.checkpoints(SCOPE)) == {canary.id, "odd"}
    done = replace(canary, state="promoted", ended=canary.began + 50, calls=70, errors=2)
    assert tallies.of(done) == Tally(calls=70, errors=2, watched=50)
