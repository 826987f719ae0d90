"""A level is a floor: what runs is at least as strong as what was asked, or does not run."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from triggerhub.policy.sandbox.levels import NEEDS, Ability, Lack, Refusal, decide, offered, remedy

NO_SANDBOX = Lack(found="clone: Operation not permitted", remedy="be root")
NO_GROUPS = Lack(found="no control groups", remedy="Delegate=yes")
STRONG = list(NEEDS)


@pytest.mark.parametrize(
    ("asked", "lacks", "level"),
    [
        ("isolated", {}, "contained"),
        ("contained", {}, "contained"),
        ("trusted", {}, "trusted"),
        ("isolated", {Ability.GROUPS: NO_GROUPS}, "isolated"),
        ("trusted", {Ability.SANDBOX: NO_SANDBOX, Ability.GROUPS: NO_GROUPS}, "trusted"),
        ("confined", {}, "contained"),
        ("confined", {Ability.LANDLOCK: NO_SANDBOX}, "contained"),
        ("confined", {Ability.GROUPS: NO_GROUPS}, "isolated"),
        ("confined", {Ability.SANDBOX: NO_SANDBOX, Ability.GROUPS: NO_GROUPS}, "confined"),
    ],
)
def test_the_strongest_level_that_there_is_runs(asked, lacks, level) -> None:
    assert decide(asked, lacks) == level


def test_a_refusal_says_what_is_missing_what_to_do_and_what_there_is() -> None:
    refusal = decide("contained", {Ability.GROUPS: NO_GROUPS})
    assert isinstance(refusal, Refusal)
    assert refusal.message == 'this host cannot give the level "contained": no control groups'
    assert (
        refusal.hint
        == 'Delegate=yes; or choose the level "isolated" or "confined" or "trusted", which this host can give'
    )
    refusal = decide("contained", {Ability.SANDBOX: NO_SANDBOX, Ability.GROUPS: NO_GROUPS})
    assert "clone: Operation not permitted; no control groups" in refusal.message
    assert 'be root; Delegate=yes; or choose the level "confined" or "trusted"' in refusal.hint


@given(st.sampled_from(STRONG), st.sets(st.sampled_from(Ability)))
def test_no_step_down_is_silent(asked, missing) -> None:
    lacks = {ability: Lack(found=f"no {ability}", remedy=f"get {ability}") for ability in missing}
    level = decide(asked, lacks)
    if isinstance(level, Refusal):
        assert asked not in offered(lacks)
        assert any(lack.remedy in level.hint for lack in lacks.values())
    else:
        assert STRONG.index(level) <= STRONG.index(asked)
        assert not set(NEEDS[level]) & missing
    assert (level == "trusted") == (asked == "trusted")


@pytest.mark.parametrize("asked", ["contained", "isolated", "confined"])
def test_what_needs_a_socket_is_not_confined(asked) -> None:
    lacks = {Ability.SANDBOX: NO_SANDBOX, Ability.GROUPS: NO_GROUPS}
    refusal = decide(asked, lacks, sockets=True)
    assert isinstance(refusal, Refusal)
    assert '"confined"' not in refusal.hint
    assert NO_SANDBOX.remedy in refusal.hint
    assert decide(asked, {}, sockets=True) == "contained"
    assert decide("trusted", lacks, sockets=True) == "trusted"


def test_nothing_is_confined_without_landlock() -> None:
    refusal = decide("confined", {Ability.SANDBOX: NO_SANDBOX, Ability.LANDLOCK: NO_GROUPS})
    assert isinstance(refusal, Refusal)
    assert (NO_GROUPS.found in refusal.message, 'choose the level "trusted"' in refusal.hint) == (True, True)


@pytest.mark.parametrize(
    ("root", "container", "settings", "says"),
    [
        (
            False,
            False,
            {"kernel.apparmor_restrict_unprivileged_userns": "1"},
            "apparmor_restrict_unprivileged_userns=0",
        ),
        (False, False, {"kernel.unprivileged_userns_clone": "0"}, "unprivileged_userns_clone=1"),
        (False, False, {"user.max_user_namespaces": "0"}, "max_user_namespaces=15000"),
        (False, True, {}, "--security-opt seccomp=unconfined"),
        (True, True, {}, "--cap-add SYS_ADMIN"),
        (True, False, {}, "CAP_SYS_ADMIN"),
        (False, False, {"user.max_user_namespaces": "9"}, "service of root"),
    ],
)
def test_what_to_do_depends_on_the_host(root, container, settings, says) -> None:
    assert says in remedy("clone: Operation not permitted", root=root, container=container, settings=settings)
