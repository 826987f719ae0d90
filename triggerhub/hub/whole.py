"""Bring together what the configuration says and what the Lambda API made. Pure."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import replace

from triggerhub.config.crosscheck import showing
from triggerhub.config.grants import linked
from triggerhub.settings import DEPLOYED, Destination, Function, Project, Trigger


def whole(own: Project, deployed: Mapping[str, Function], mapped: Mapping[str, Trigger]) -> Project:
    """Return the project with *deployed* functions and *mapped* triggers.

    Where both have a name, it is the configuration's. A trigger rests while one of its functions is not there.
    """
    inheriting = {name: _inheriting(one, own) for name, one in deployed.items()}
    for name in {name for one in own.triggers.values() if one.type == "files" for name in one.functions}:
        if name in inheriting:
            inheriting[name] = showing(inheriting[name], own.triggers)
    if own.places:
        inheriting = {name: linked(one, own.places) for name, one in inheriting.items()}
    functions = {**inheriting, **own.functions}
    every = {**mapped, **own.triggers}
    triggers = {name: one for name, one in every.items() if all(to in functions for to in one.functions)}
    return replace(own, functions=functions, triggers=triggers)


def resting(own: Project, project: Project) -> Iterator[str]:
    """Yield a sentence for each trigger of the configuration *own* that rests in *project*."""
    for name, one in own.triggers.items():
        if name not in project.triggers:
            gone = ", ".join(to for to in one.functions if to not in project.functions)
            yield (
                f"trigger {name} rests: there is no function {gone} that can be run here; make it again by the "
                "Lambda API, or take it out of the trigger"
            )


_INHERITED = ("rate", "idle", "dead_letters_keep", "level", "network", "read", "write")


def _inheriting(function: Function, own: Project) -> Function:
    """Return a deployed function with what ``[defaults]`` and its own table say.

    0 is the concurrency of one without a reservation. A table is of all versions and aliases.
    """
    defaults, name = own.defaults, function.name.partition(":")[0]
    return replace(
        function,
        concurrency=function.concurrency or max(defaults.concurrency, function.warm),
        retry=replace(function.retry, **own.retries.get(name, {})),
        reuse=function.reuse if function.reuse == "fork" else defaults.reuse,
        **{part: getattr(defaults, part) for part in _INHERITED} | dict(own.sandboxes.get(name, {})),
    )


def sent(function: Function) -> list[Destination]:
    """Return those that a function's answers go to by deliveries of the function itself."""
    return [one for one in (*function.on_success, *function.on_failure) if one.kind != "queue"]


def senders(project: Project, deployed: Collection[str]) -> list[str]:
    """Name the functions whose answers may be owed to others: of a *deployed* one, where it says so."""
    return [name for name, one in project.functions.items() if name not in deployed or sent(one)]


def naming(project: Project, name: str) -> Iterator[str]:
    """Yield the places of the configuration that speak of a function; without a number, of any of its versions too."""

    def means(text: str) -> bool:
        return text == name or (":" not in name and text.partition(":")[0] == name)

    for key, trigger in project.triggers.items():
        if any(map(means, trigger.functions)):
            yield f"triggers.{key}"
        elif any(one.kind == "function" and means(one.target) for one in trigger.on_failure or ()):
            yield f"triggers.{key}.on_failure"
    for key in project.retries:
        if means(key):
            yield f"functions.{key}"
    for key, function in project.functions.items():
        led = any(one.kind == "function" and means(one.target) for one in sent(function))
        if led and function.source != DEPLOYED:
            yield f"functions.{key}"
    for key, alarm in project.alarms.items():
        told = any(one.kind == "function" and means(one.target) for one in alarm.then)
        if told or means(alarm.when.name):
            yield f"alarms.{key}"
