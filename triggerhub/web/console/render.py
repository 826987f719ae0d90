"""Turn templates and values into HTML in which no text of a stranger is anything but text.

Every value is escaped by the template engine, and before that every character that is not seen or that
turns the direction of writing is spelt out: a function's name or payload cannot look like another.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from functools import cache
from importlib import resources
from typing import TYPE_CHECKING, Any

from markupsafe import Markup, escape

from triggerhub.model import Json, Millis
from triggerhub.policy import units
from triggerhub.policy.advice import advise
from triggerhub.policy.masking import CUT
from triggerhub.policy.prettyjson import pretty
from triggerhub.policy.scatter import Plot
from triggerhub.policy.unseen import spelt
from triggerhub.web import shape
from triggerhub.web.console import asset

if TYPE_CHECKING:
    from jinja2 import Environment
    from jinja2.runtime import Context

SHOWN = 64 * 1024
"""Characters of a payload on a page; the whole of it can be downloaded."""
_ID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[0-9a-f]{4}-[0-9a-f]{12}")
"""An id of the hub's own, whose digits are not to be taken for a secret."""
_OTHER = re.compile(r'\{% (?:extends|include|from) "([^"]+)"')
"""What one template names another by."""
_compiled: set[str] = set()


def _final(context: Context, value: object) -> object:
    if type(value) is str:
        masked = context.get("mask")
        return spelt(masked(value) if masked and not _ID.fullmatch(value) else value)
    return "" if value is None else value


@cache
def sources() -> Mapping[str, str]:
    """Return the text of each template; read once, as the hub starts: a later package may take the place of its own."""
    folder = resources.files(__package__).joinpath("templates")
    return {one.name: one.read_text("utf-8") for one in folder.iterdir() if one.name.endswith(".html")}


@cache
def environment() -> Environment:
    """Return the templates and their filters; made, and their engine imported, at the first page."""
    from jinja2 import DictLoader, Environment, StrictUndefined, pass_context

    made = Environment(
        loader=DictLoader(sources()),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=pass_context(_final),
        trim_blocks=True,
        lstrip_blocks=True,
        auto_reload=False,
    )
    made.filters |= {
        "ago": ago,
        "lasting": lasting,
        "counted": units.counted,
        "took": took,
        "span": units.span,
        "size": size,
        "number": number,
        "percent": percent,
        "block": pass_context(block),
        "whole": whole,
        "cut": pass_context(cut),
        "clock": clock,
        "dots": dots,
        "duration": units.show_duration,
        "laid": pretty,
    }
    made.globals |= {"asset": asset.address, "advise": advise}
    return made


def ready(name: str) -> bool:
    """Whether a template and all that it is made of is compiled."""
    return name in _compiled


def prepare(name: str) -> None:
    """Compile a template and those that it is made of, and pack the files: for a thread, before its first page.

    One at a time: all of them take a fifth of a second, and a megabyte that a hub at which nobody looks need not have.
    """
    asset.assets()
    made, parts = environment(), [name]
    for part in parts:
        if part not in _compiled:
            made.get_template(part)
            parts += [one for one in _OTHER.findall(sources()[part]) if one not in parts]
    _compiled.update(parts)


def dots(drawn: Plot) -> Markup:
    """Return the circles of a plot: hundreds of them, of numbers, states and ids alone."""
    return Markup(
        "".join(
            f'<circle class="{one.state}" cx="{one.x * 98 + 1:.2f}%" cy="{one.y * 100:.1f}%" r="3" data-id="{one.id}"/>'
            for one in drawn.dots
        )
    )


def page(name: str, values: Mapping[str, Any]) -> str:
    """Return the HTML of a template."""
    return environment().get_template(name).render(values)


def ago(moment: Millis | None, now: Millis) -> Markup:
    """Return a ``<time>`` that says how long ago or in how long; the script keeps it true.

    One to come is marked: once it has come, what shows it is drawn anew."""
    if moment is None:
        return Markup("–")
    exact = shape.moment(moment)
    due = Markup(" data-due") if moment > now else ""
    return Markup('<time datetime="{0}" title="{0}"{1}>{2}</time>').format(exact, due, since(now - moment))


def lasting(begin: Millis | None, now: Millis) -> Markup:
    """Return a ``<time>`` that says for how long something has been so; the script keeps it true."""
    if begin is None:
        return Markup("–")
    exact = shape.moment(begin)
    words = units.span(max(now - begin, 0))
    return Markup('<time datetime="{0}" title="since {0}" data-lasting>{1}</time>').format(exact, words)


def since(length: float) -> str:
    """Return ``14 min ago`` or ``in 3 s``."""
    words = units.span(abs(length))
    if abs(length) < 1000:
        return "now"
    return f"{words} ago" if length > 0 else f"in {words}"


def took(milliseconds: float | None) -> str:
    """Return how long something took, to three digits."""
    return "–" if milliseconds is None else units.took(milliseconds)


def size(count: float | None) -> str:
    """Return a number of bytes in one unit."""
    if count is None:
        return "–"
    for unit in ("B", "KB", "MB"):
        if count < 1024:
            return f"{count:.3g} {unit}" if count < 100 else f"{count:.0f} {unit}"
        count /= 1024
    return f"{count:.3g} GB"


def number(count: float) -> str:
    """Return a number with its thousands apart."""
    return f"{count:,.0f}" if count >= 100 or count == int(count) else f"{count:.3g}"


def percent(share: float) -> str:
    """Return a share as a percentage."""
    return "0 %" if share == 0 else "under 0.1 %" if share < 0.001 else f"{share * 100:.3g} %"


def cut(context: Context, text: str | None, most: int = 200) -> str:
    """Return the beginning of a text, without secrets: of one that is cut in two a mask would not know the half."""
    masked, text = context.get("mask"), text or ""
    text = masked(text) if masked else text
    return text if len(text) <= most else text[: most - 1] + "…"


def block(context: Context, text: str) -> Markup:
    """Return a text of several lines; within each, what is not seen is spelt out. Secrets are dots."""
    masked = context.get("mask")
    return whole(masked(text) if masked else text)


def whole(text: str) -> Markup:
    """Return a text of several lines whose secrets have been seen to already."""
    return Markup("\n").join(escape(spelt(line)) for line in text.split("\n"))


def readable(data: bytes) -> str:
    """Return a payload as text; bytes that are no UTF-8 are written ``\\xff``."""
    return data.decode("utf-8", "backslashreplace")


def begun(data: bytes) -> str:
    """Return as much of a payload, as text, as can be shown of it without secrets; marked where it is cut."""
    return readable(data) if len(data) <= 4 * SHOWN else readable(data[: 4 * SHOWN]) + CUT


def clock(moment: Millis) -> Markup:
    """Return a ``<time>`` of the time of day in UTC; the script makes it the local one."""
    exact, text = shape.moment(moment), f"{datetime.fromtimestamp(moment / 1000, UTC):%H:%M:%S} UTC"
    return Markup('<time datetime="{0}" title="{0}" data-clock>{1}</time>').format(exact, text)


def data(value: Json) -> Markup:
    """Return JSON that may stand in a ``<script type="application/json">``."""
    text = shape.dump(value).decode()
    return Markup(text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026"))


def laid(value: Json) -> str:
    """Return JSON laid out on lines."""
    return pretty(shape.dump(value).decode())
