"""A function's uid on the host is its own for good, whoever is started first."""

from __future__ import annotations

import json
import os
import zlib
from itertools import count
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from triggerhub.runtimes.launcher.plan import FIRST_UID, UIDS
from triggerhub.runtimes.uids import Uids

from .conftest import Bench, invocation


def meeting(name: str) -> str:
    """Return a name that leads to the same uid."""
    return next(
        other
        for number in count()
        if (zlib.crc32(name.encode()) - zlib.crc32((other := f"x{number}").encode())) % UIDS == 0
    )


def test_who_was_first_keeps_it_over_restarts(tmp_path: Path) -> None:
    path, other = tmp_path / "var" / "uids", meeting("billing")
    first = Uids(path)
    billing, chosen = first.of("billing"), first.of(other)
    assert billing != chosen
    again = Uids(path)
    assert again.knows("billing")
    assert [again.of(other), again.of("billing")] == [chosen, billing]
    assert path.stat().st_mode & 0o777 == 0o600


def test_a_function_that_is_gone_leaves_its_uid_to_nobody(tmp_path: Path) -> None:
    path = tmp_path / "uids"
    gone = Uids(path).of("billing")
    assert Uids(path).of(meeting("billing")) != gone


def test_two_processes_give_none_twice(tmp_path: Path) -> None:
    path = tmp_path / "uids"
    one, two = Uids(path), Uids(path)
    assert one.of("billing") != two.of(meeting("billing"))
    assert two.of("billing") == one.of("billing")


@pytest.mark.parametrize(
    "torn",
    ["470826 bil", "4", "\0\0\0\0", "x y\n", "9" * 5000 + " z\n", "0 root\n", "1 a\n", f"{FIRST_UID + UIDS} b\n"],
)
def test_a_line_that_is_none_harms_no_other(tmp_path: Path, torn: str) -> None:
    path = tmp_path / "uids"
    before = Uids(path).of("a-function")
    with path.open("a") as file:
        file.write(torn)
    billing = Uids(path).of("billing")
    again = Uids(path)
    assert (again.of("a-function"), again.of("billing")) == (before, billing)
    assert FIRST_UID <= billing < FIRST_UID + UIDS


@given(st.lists(st.sampled_from([f"f{number}" for number in range(30)]), max_size=40))
def test_no_two_have_one(names: list[str]) -> None:
    uids = Uids()
    assert len({uids.of(name) for name in names}) == len(set(names))
    assert all(uids.knows(name) for name in names)


def test_when_all_are_given_it_says_so(tmp_path: Path) -> None:
    path = tmp_path / "uids"
    path.write_text("".join(f"{FIRST_UID + number} f{number}\n" for number in range(UIDS)))
    with pytest.raises(OSError, match=r"take lines of functions that are gone out of .*uids"):
        Uids(path).of("one-more")


def test_what_passes_has_nobodys_and_keeps_none(tmp_path: Path) -> None:
    path = tmp_path / "uids"
    path.write_text(f"{FIRST_UID + UIDS - 1} f\n{FIRST_UID + UIDS - 3} g\n")
    assert {Uids(path).passing(), Uids(path).passing()} == {FIRST_UID + UIDS - 2}
    path.write_text("".join(f"{FIRST_UID + number} f{number}\n" for number in range(UIDS)))
    assert FIRST_UID <= Uids(path).passing() < FIRST_UID + UIDS


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives functions uids of their own")
async def test_a_function_has_the_uid_of_its_name_before_the_restart(bench: Bench) -> None:
    """As which uid a handler is, the file that it leaves says."""
    out = bench.root / "out"
    out.mkdir()
    out.chmod(0o777)
    code = "def handler(event, context):\n    open(event, 'w').close()\n"
    other = meeting("billing")
    owners = []
    for names in (("billing", other), (other, "billing")):
        runtime = bench.runtime()
        for name in names:
            path = out / f"{name}-{len(owners)}"
            async with runtime.start(bench.python(code, name=name, write=(out,))) as worker:
                await worker.invoke(invocation(json.dumps(str(path)).encode()))
            owners.append((name, path.stat().st_uid))
    assert len(set(owners)) == 2
