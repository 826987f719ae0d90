"""Read ``--since``: an age with a unit, or a moment."""

from __future__ import annotations

from datetime import datetime

import click

from triggerhub.policy import units


class Since(click.ParamType[str]):
    """A word that the hub understands: ``90s``, ``15m``, ``1h``, ``2d`` or RFC 3339."""

    name = "time"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> str:
        text = str(value)
        try:
            units.duration(text)
            return text
        except ValueError:
            pass
        try:
            datetime.fromisoformat(text)
        except ValueError:
            self.fail(f"{text!r} is neither an age like 15m nor a time like 2026-01-31T12:00:00Z", param, ctx)
        return text


since_option = click.option("--since", type=Since(), metavar="AGE", help="Only since: 90s, 15m, 1h, 2d or a time.")
limit_option = click.option("--limit", type=click.IntRange(1, 1000), default=100, show_default=True, help="At most.")
