"""Tokens: one name is one token's, and what closes the Lambda API is kept."""

from __future__ import annotations

import anyio
import pytest

from triggerhub.errors import BadInput, Conflict
from triggerhub.hub.tokens import Tokens
from triggerhub.policy.access import Role
from triggerhub.stores.memory import MemoryStore


class SlowStore(MemoryStore):
    """One that lets others go on while it writes."""

    async def set_checkpoints(self, scope: str, values: object) -> None:
        await anyio.lowlevel.checkpoint()
        await super().set_checkpoints(scope, values)  # type: ignore[arg-type]


async def test_two_that_ask_for_one_name_at_once_are_not_both_given_it() -> None:
    tokens, told = Tokens(SlowStore(), lambda: 0), []

    async def make() -> None:
        try:
            await tokens.create("one", Role.ADMIN, payloads=True, lasts=None, aws=True)
        except Conflict as error:
            told.append(error.message)

    async with anyio.create_task_group() as group:
        group.start_soon(make)
        group.start_soon(make)
    assert [one.name for one in tokens.all()] == ["one"]
    assert told == ["there is a token 'one' already"]


async def test_a_hub_that_had_keys_before_it_was_written_down_is_closed_too() -> None:
    store = MemoryStore()
    first = Tokens(store, lambda: 0)
    await first.create("one", Role.ADMIN, payloads=True, lasts=None, aws=True)
    await store.set_checkpoints("lambda-api", {"closed": None})
    tokens = Tokens(store, lambda: 0)
    await tokens.load()
    assert tokens.signatures(asks=False) == "keys"
    await tokens.revoke("one")
    assert tokens.signatures(asks=False) == "none"
    again = Tokens(store, lambda: 0)
    await again.load()
    assert again.signatures(asks=False) == "none"


@pytest.mark.parametrize("lasts", [0, -1])
async def test_a_token_that_would_last_no_time_is_not_made(lasts: int) -> None:
    tokens = Tokens(MemoryStore(), lambda: 0)
    with pytest.raises(BadInput, match="lasts no time"):
        await tokens.create("one", Role.VIEWER, payloads=False, lasts=lasts)
    assert tokens.all() == []


async def test_an_access_key_is_found_by_its_id_until_it_is_revoked() -> None:
    store = MemoryStore()
    tokens = Tokens(store, lambda: 0)
    one, _ = await tokens.create("one", Role.ADMIN, payloads=True, lasts=None, aws=True)
    two, _ = await tokens.create("two", Role.VIEWER, payloads=True, lasts=None, aws=True)
    plain, _ = await tokens.create("plain", Role.ADMIN, payloads=True, lasts=None)
    assert one.key
    assert two.key
    again = Tokens(store, lambda: 0)
    await again.load()
    for each in (tokens, again):
        assert each.by_key(one.key) == one
        await each.revoke("one")
        assert each.by_key(one.key) is None
        assert each.by_key(two.key) == two
        assert each.by_key(plain.id) is each.by_key("") is None


async def test_functions_are_named_by_patterns_or_arns_of_this_hub() -> None:
    tokens, arn = Tokens(MemoryStore(), lambda: 0), "arn:aws:lambda:us-east-1:000000000000:function:"
    named = ["orders-*", f"{arn}sec", f"{arn}sec:live", "a:1"]
    key, _ = await tokens.create("one", Role.ADMIN, payloads=True, lasts=None, aws=True, functions=named)
    assert key.functions == ("orders-*", "sec", "sec:live", "a:1")
    for odd in (arn, "a:b:c", "arn:aws:lambda:eu-west-1:000000000000:function:sec", "function:sec:live", ":live"):
        with pytest.raises(BadInput, match="is no pattern of functions"):
            await tokens.create("two", Role.ADMIN, payloads=True, lasts=None, aws=True, functions=[odd])
