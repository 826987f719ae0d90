"""Keep leases and checkpoints: what sources and hubs agree on by way of the store."""

from __future__ import annotations

from collections.abc import Mapping

from triggerhub.model import Millis
from triggerhub.store import Lease
from triggerhub.stores.transaction import Transaction


def lease(t: Transaction, name: str, holder: str, ttl: Millis, now: Millis) -> Lease | None:
    """Take or extend a lease; None while another holder's has not run out."""
    taken = t.db.execute(
        "INSERT INTO lease VALUES (?, ?, ?) ON CONFLICT DO UPDATE SET holder = excluded.holder, "
        "until = excluded.until WHERE holder = excluded.holder OR until <= ? RETURNING until",
        (name, holder, now + ttl, now),
    ).fetchall()
    return Lease(name=name, holder=holder, until=taken[0][0]) if taken else None


def unlease(t: Transaction, name: str, holder: str) -> None:
    """Let go of a lease that *holder* has."""
    t.db.execute("DELETE FROM lease WHERE name = ? AND holder = ?", (name, holder))


def put_checkpoints(t: Transaction, values: Mapping[tuple[str, str], str | None]) -> None:
    """Write or remove checkpoints, (scope, key) to value."""
    if not values:
        return
    t.db.executemany(
        "INSERT OR REPLACE INTO checkpoint VALUES (?, ?, ?)",
        [(*key, value) for key, value in values.items() if value is not None],
    )
    t.db.executemany(
        "DELETE FROM checkpoint WHERE scope = ? AND key = ?", [key for key, value in values.items() if value is None]
    )
