"""Decide at which level a function runs on a host: levels are floors, and no step down is silent."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from triggerhub.settings import Function, Level


class Ability(StrEnum):
    """What a level may need of a host."""

    SANDBOX = "sandbox"
    """Namespaces, mounts and a seccomp filter, all that a sandbox is made of."""
    LANDLOCK = "landlock"
    """A Landlock that keeps a process to some files, and from signals to others."""
    GROUPS = "groups"
    """Control groups that hold a whole tree of processes to its memory."""
    NETWORK = "network"
    """What carries a network that reaches the world and not the host. No level needs it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Lack:
    """Why a host has not got an ability."""

    found: str
    remedy: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    """Why a function is not started."""

    message: str
    hint: str


NEEDS: Mapping[Level, tuple[Ability, ...]] = {
    "contained": (Ability.SANDBOX, Ability.GROUPS),
    "isolated": (Ability.SANDBOX,),
    "confined": (Ability.LANDLOCK,),
    "trusted": (),
}
"""From the strongest to the weakest."""


def offered(lacks: Mapping[Ability, Lack]) -> tuple[Level, ...]:
    """Return the levels that a host with these lacks can give, the strongest first."""
    return tuple(level for level, needs in NEEDS.items() if not any(ability in lacks for ability in needs))


def speaks(function: Function) -> bool:
    """Whether a function is to reach anything by a socket: a network, or the Runtime API."""
    return function.network is not False or function.runtime == "provided"


def decide(asked: Level, lacks: Mapping[Ability, Lack], *, sockets: bool = False) -> Level | Refusal:
    """Return the level at which a function runs: the strongest there is, or a refusal.

    Trusted stays trusted: who asks for it wants the host. Confined has no *sockets*, so that whoever needs some is
    given none of it.
    """
    if asked == "trusted":
        return asked
    there = offered(lacks)
    if sockets and there[0] == "confined":
        if asked == "confined":
            return Refusal(
                message='this host gives nothing stronger than the level "confined", which has no sockets, and with '
                "them neither a network nor the Runtime API",
                hint=f'{lacks[Ability.SANDBOX].remedy}; or choose the level "trusted"',
            )
        there = there[1:]
    strong = list(NEEDS)
    best = there[0]
    if best != "trusted" and strong.index(best) <= strong.index(asked):
        return best
    missing = [lacks[ability] for ability in NEEDS[asked] if ability in lacks]
    choice = " or ".join(f'"{level}"' for level in there)
    return Refusal(
        message=f'this host cannot give the level "{asked}": {"; ".join(lack.found for lack in missing)}',
        hint=f"{'; '.join(lack.remedy for lack in missing)}; or choose the level {choice}, which this host can give",
    )


def remedy(found: str, *, root: bool, container: bool, settings: Mapping[str, str]) -> str:
    """Return what to do where no sandbox can be made; *settings* are the kernel's, by name, those that there are."""
    if found.startswith("what kept root"):
        return "start the hub again"
    if settings.get("kernel.apparmor_restrict_unprivileged_userns") == "1" and not root:
        return (
            "start the hub as a service of root, or install bubblewrap with a profile that lets it make namespaces, "
            "or let all make some: sysctl kernel.apparmor_restrict_unprivileged_userns=0"
        )
    if settings.get("kernel.unprivileged_userns_clone") == "0" and not root:
        return "sysctl kernel.unprivileged_userns_clone=1, or start the hub as a service of root"
    if settings.get("user.max_user_namespaces") == "0":
        return "sysctl user.max_user_namespaces=15000"
    if container:
        return "start the container with --security-opt seccomp=unconfined --security-opt systempaths=unconfined" + (
            " --cap-add SYS_ADMIN" if root else ""
        )
    if "proc" in found and "not permitted" in found:
        return "something covers a part of /proc, so that no other may be mounted: uncover it"
    if root:
        return "root lacks a right here: let it mount and make namespaces (CAP_SYS_ADMIN, no seccomp filter)"
    return "let this user make user namespaces, or start the hub as a service of root"
