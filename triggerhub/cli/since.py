"""Read ``--since``: an age with a unit, or a moment."""

from __future__ import annotations

import time
from datetime import UTC, datetime

import click

from triggerhub.policy import units


class Since(click.ParamType[int]):
    """Milliseconds since the epoch from ``90s``, ``15m``, ``1h``, ``2d`` or RFC 3339."""

    name = "time"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> int:
        text = str(value)
        try:
            return int(time.time() * 1000) - units.duration(text)
        except ValueError:
            pass
        try:
            moment = datetime.fromisoformat(text)
        except ValueError:
            self.fail(f"{text!r} is neither an age like 15m nor a time like 2026-01-31T12:00:00Z", param, ctx)
        return int((moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp() * 1000)


since_option = click.option("--since", type=Since(), metavar="AGE", help="Only since: 90s, 15m, 1h, 2d or a time.")
limit_option = click.option("--limit", type=click.IntRange(1, 1000), default=100, show_default=True, help="At most.")
