"""Every test of the conformance suite runs over every store; a new store is added here, to STORES."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from pathlib import Path

import pytest
import pytest_asyncio

from tests.stores.rig import Hand, Home, accounts

STORES = ("memory", "sqlite")


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """The folder of a store."""
    return tmp_path / "var"


@pytest.fixture(params=STORES)
def home(request: pytest.FixtureRequest, data: Path) -> Home:
    """Where to open a store, as often as the test likes."""
    return Home(request.param, data)


@pytest_asyncio.fixture
async def hand(home: Home) -> AsyncGenerator[Hand]:
    """An open store; when the test is over its books must balance."""
    async with home.open() as hand:
        yield hand
        await accounts(hand.store)
