"""Find what is wrong between the keys of one function that are each right.

*written* is what it comes to, its layers merged; *own* is what is said of it alone, without the defaults.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Mapping
from functools import cache
from typing import Any

from triggerhub.config.code import Code
from triggerhub.config.problem import Problem, Report, dotted
from triggerhub.config.schema import Defaults, merge
from triggerhub.policy import selecting, units
from triggerhub.settings import GB, MB, RetryPolicy

SHORTER = "lower initial or raise max"
HEAVY = 250 * MB
"""The most bytes of code that Lambda takes."""


def retry_policy(*written: Mapping[str, Any]) -> RetryPolicy:
    """Return the policy of tables that may have a ``retry``, the later over the earlier."""
    return RetryPolicy(**merge(*(one.get("retry") or {} for one in written)))


def too_long(owner: str, policy: RetryPolicy) -> str:
    """Say that the first wait is longer than the longest."""
    initial, most = units.show_duration(policy.initial), units.show_duration(policy.max)
    return f"{owner}.retry: initial is {initial}, over max, which is {most}"


def retry(owner: str, written: Mapping[str, Any], report: Report) -> None:
    """Refuse a first wait that is longer than the longest."""
    policy = retry_policy(written)
    if policy.initial > policy.max:
        path = (*owner.split(".", 1), "retry", "initial")
        report.error(path, "bad-retry", too_long(owner, policy), SHORTER)


def workers(name: str, own: Mapping[str, Any], report: Report) -> None:
    """Refuse to keep workers of an executable ready; what ``[defaults]`` says is meant for others."""
    if own.get("warm"):
        message = f"functions.{name}: warm is {own['warm']}, but an executable is started anew for each call"
        hint = 'leave it out, or use the Lambda Runtime API (runtime = "provided")'
        report.error(("functions", name, "warm"), "bad-warm", message, hint, at="key")


def reuse(name: str, code: Code, written: Mapping[str, Any], own: Mapping[str, Any], report: Report) -> None:
    """Refuse a fork of what cannot be forked, and workers of an executable that one call leaves to the next.

    An executable has each call in a process of its own, which is more than ``[defaults]`` could ask for.
    """
    wanted, said = written.get("reuse", "warm"), "reuse" in own
    if code.runtime == "python" or wanted not in ("fork", "warm"):
        return
    if code.runtime == "executable":
        if said:
            message = f'functions.{name}: reuse is "{wanted}", but an executable is started anew for each call'
            report.error(("functions", name, "reuse"), "bad-reuse", message, "leave it out", at="key")
    elif wanted == "fork":
        path = ("functions", name, "reuse") if said else ("defaults", "reuse")
        kind = "Node" if code.runtime == "node" else "a bootstrap"
        message = f'{dotted(path)} is "fork", which is for Python, but functions.{name} is {kind}'
        hint = f'write reuse = "fresh" for a new worker each time, or "warm", in [functions.{name}]'
        report.error(path, "bad-reuse", message, hint)


def warm(base: tuple[str, ...], written: Mapping[str, Any], own: Mapping[str, Any], report: Report) -> None:
    """Refuse more workers than may run; *own* is what stands at *base* itself."""
    ready, most = written.get("warm", 0), written.get("concurrency", Defaults().concurrency)
    if ready > most:
        key = "warm" if "warm" in own else "concurrency"
        message = f"{dotted(base)}: warm is {ready}, over concurrency, which is {most}"
        report.error((*base, key), "bad-warm", message, "lower warm or raise concurrency")


def idempotency(name: str, written: dict[str, Any], own: Mapping[str, Any], report: Report) -> None:
    """Refuse a key that is no JSONPath, and none; without one, what the defaults say is taken out of *written*."""
    table, path = written.get("idempotency"), ("functions", name, "idempotency")
    if table is None:
        return
    if table.get("key") is None:
        if "idempotency" not in own:
            # The defaults may say how long keys are kept, for those functions that have one.
            del written["idempotency"]
            return
        report.error(path, "missing-key", f'functions.{name}.idempotency needs the key "key"', at="key")
        return
    try:
        selecting.compile(table["key"])
    except ValueError as error:
        report.error((*path, "key"), "bad-key", f"functions.{name}.idempotency.key: {error}")


def memory(name: str, written: Mapping[str, Any], own: Mapping[str, Any], report: Report) -> None:
    """Warn of more than this host has."""
    wanted, there = written.get("memory", 0), _memory_of_host()
    if there and wanted > there:
        path = ("functions", name, "memory") if "memory" in own else ("defaults", "memory")
        message = f"{dotted(path)} is {units.show_size(wanted)}, but this host has {there / GB:.1f} GB in all"
        report.warn(path, "much-memory", message, "lower it, or a call that uses it is killed by the kernel")


def weight(name: str, code: Code) -> list[Problem]:
    """Warn of code that is larger than Lambda takes: each version is a copy of it."""
    if code.size <= HEAVY:
        return []
    message = f"functions.{name} has {code.size // MB:,} MB of code, which are copied for each version of it"
    hint = (
        'keep what is large and no code in a folder beside the handlers, and show that: sandbox = { read = ["FOLDER"] }'
    )
    return [Problem(file=code.source, severity="warning", code="heavy-code", message=message, hint=hint)]


def sandbox(
    name: str, written: Mapping[str, Any], own: Mapping[str, Any], defaults: Mapping[str, Any], report: Report
) -> None:
    """Refuse what level ``trusted`` could only ignore: without a sandbox there is nothing to hold it."""
    if written.get("sandbox", {}).get("level") != "trusted":
        return
    base = ("functions", name)
    inherits = "level" not in own.get("sandbox", {})
    tables = [(base, own), *([(("defaults",), defaults)] if inherits else [])]
    hint = 'leave it out, or choose the level "isolated"'
    for place, table in tables:
        ignored = [(*place, "tmp")] if "tmp" in table else []
        ignored += [(*place, "sandbox", key) for key in ("network", "read", "write") if key in table.get("sandbox", {})]
        for path in ignored:
            if path[-1] != "network" or table["sandbox"]["network"] not in (True, "host"):
                message = f'{dotted(path)} has no effect at the level "trusted", which isolates nothing'
                report.error(path, "bad-sandbox", message, hint, at="key")


def layers(
    name: str,
    code: Code,
    written: Mapping[str, Any],
    own: Mapping[str, Any],
    extensions: Collection[str],
    report: Report,
) -> None:
    """Warn of what of its layers, which bring *extensions*, a function will not find as on Lambda."""
    path = ("functions", name, "layers") if "layers" in own else ("functions", name)
    if written.get("sandbox", {}).get("level") == "trusted":
        message = f"functions.{name}: at level trusted its layers are on the same paths, but not at /opt"
        report.warn(path, "no-opt", message, "choose another level where a path begins with /opt")
    if extensions and code.runtime != "provided":
        names = ", ".join(extensions)
        message = f"functions.{name}: its layers bring extensions ({names}), which run beside a bootstrap only"
        report.warn(path, "no-extensions", message)


@cache
def _memory_of_host() -> int:
    """Return the bytes of memory of this host, 0 where it does not say."""
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (OSError, ValueError):
        return 0
