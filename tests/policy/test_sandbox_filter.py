"""The seccomp program refuses what it names, on both machines, and lets everything else through."""

from __future__ import annotations

import hashlib
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from triggerhub.policy.sandbox import filter as calls
from triggerhub.policy.sandbox.filter import ALLOW, EAFNOSUPPORT, ENOSYS, EPERM, KILL

ARCHITECTURES = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}
MACHINES = pytest.mark.parametrize("machine", ARCHITECTURES)
ERRNO = 0x50000


def run(program: bytes, number: int, architecture: int, arguments: tuple[int, ...] = ()) -> int:
    """Interpret the program as the kernel does; what it returns."""
    padded = (*arguments, *[0] * 6)[:6]
    data = struct.pack("=IIQ6Q", number, architecture, 0, *[one & 0xFFFFFFFFFFFFFFFF for one in padded])
    steps = list(struct.iter_unpack("=HBBI", program))
    accumulator = place = 0
    while True:
        code, then, otherwise, value = steps[place]
        place += 1
        if code == 0x20:
            (accumulator,) = struct.unpack_from("=I", data, value)
        elif code == 0x54:
            accumulator &= value
        elif code == 0x06:
            return value
        else:
            held = {0x15: accumulator == value, 0x25: accumulator > value, 0x35: accumulator >= value}
            place += then if held.get(code, bool(accumulator & value)) else otherwise


def verdict(machine: str, number: int, *arguments: int, soft: bool = True, namespaces: bool = True) -> int:
    program = calls.assemble(calls.program(machine, soft=soft, namespaces=namespaces))
    return run(program, number, ARCHITECTURES[machine], arguments)


def numbers(machine: str, table: dict) -> list[int]:
    column = list(ARCHITECTURES).index(machine)
    return [pair[column] for pair in table.values() if pair[column] is not None]


@MACHINES
def test_what_is_named_is_refused(machine: str) -> None:
    assert all(numbers(machine, table) for table in (calls.DENIED, calls.UNKNOWN, calls.UNBOUND))
    for number in numbers(machine, calls.DENIED):
        assert verdict(machine, number) == ERRNO | EPERM, number
    for number in numbers(machine, calls.UNKNOWN):
        assert verdict(machine, number) == ERRNO | ENOSYS, number
    for number in numbers(machine, calls.UNBOUND):
        assert (verdict(machine, number), verdict(machine, number, soft=False)) == (ERRNO | EPERM, ALLOW)


@MACHINES
def test_without_namespaces_nothing_is_shared_and_nothing_set_for_another(machine: str) -> None:
    column = list(ARCHITECTURES).index(machine)
    for number in numbers(machine, calls.APART):
        assert verdict(machine, number, namespaces=False) == ERRNO | EPERM, number
        assert verdict(machine, number, soft=False) == ALLOW
    for name, call in calls.OF_OTHERS.items():
        before = [0] * call[2]
        assert verdict(machine, call[column], *before, 0, namespaces=False) == ALLOW, name
        assert verdict(machine, call[column], *before, 1234, namespaces=False) == ERRNO | EPERM, name
        assert verdict(machine, call[column], *before, 1234) == ALLOW, name
    for name, user in calls.OF_A_USER.items():
        number = calls.OF_OTHERS[name][column]
        assert verdict(machine, number, user, 0, namespaces=False) == ERRNO | EPERM, name
        assert verdict(machine, number, user - 1, 0, namespaces=False) == ALLOW, name
        assert verdict(machine, number, user, 0) == ALLOW, name


@MACHINES
def test_a_pair_of_sockets_speaks_to_nobody_else(machine: str) -> None:
    pair = 53 if machine == "x86_64" else 199
    closed, unblocked = 0o2000000, 0o4000
    for kind in (1, 5):  # SOCK_STREAM, SOCK_SEQPACKET
        for flags in (0, closed, closed | unblocked):
            assert verdict(machine, pair, 1, kind | flags) == ALLOW
            assert verdict(machine, pair, 1, kind | flags, namespaces=False) == ALLOW
    for kind in (0, 2, 3, 4, 6, 10):
        assert verdict(machine, pair, 1, kind | closed, namespaces=False) == ERRNO | EPERM
        assert verdict(machine, pair, 1, kind | closed) == ALLOW
    for family in (0, *range(2, 64), 1 << 31 | 1):
        assert verdict(machine, pair, family, 1) == ERRNO | EAFNOSUPPORT
        assert verdict(machine, pair, family, 1, namespaces=False) == ERRNO | EAFNOSUPPORT


@MACHINES
@pytest.mark.parametrize("namespaces", [True, False])
def test_no_file_is_given_a_mode_by_which_it_runs_as_its_owner(machine: str, namespaces: bool) -> None:
    column = list(ARCHITECTURES).index(machine)
    create, nameless, read = 0o100 | 0o1, 0o20200000 | 0o2, 0

    def said(number: int, *arguments: int) -> int:
        return verdict(machine, number, *arguments, namespaces=namespaces)

    for mode in (0, 0o644, 0o755, 0o1777, 0o100755, 1 << 32 | 0o777):
        for call in calls.MODES.values():
            if (number := call[column]) is not None:
                assert said(number, *[0] * call[2], mode) == ALLOW
        for call in calls.OPENS.values():
            if (number := call[column]) is not None:
                assert {said(number, *[0] * call[2], flags, mode) for flags in (create, nameless, read)} == {ALLOW}
    for mode in (0o4000, 0o2000, 0o4755, 0o2755, 0o6777, 0o104755, 1 << 32 | 0o4755):
        for name, call in calls.MODES.items():
            if (number := call[column]) is not None:
                assert said(number, *[0] * call[2], mode) == ERRNO | EPERM, name
        for name, call in calls.OPENS.items():
            if (number := call[column]) is not None:
                assert said(number, *[0] * call[2], create, mode) == ERRNO | EPERM, name
                assert said(number, *[0] * call[2], nameless, mode) == ERRNO | EPERM, name
                assert said(number, *[0] * call[2], read, mode) == ALLOW, "it makes nothing"


@MACHINES
@pytest.mark.parametrize("soft", [True, False])
def test_every_other_call_is_let_through_and_what_is_newer_is_unknown(machine: str, soft: bool) -> None:
    special = {*numbers(machine, calls.DENIED), *numbers(machine, calls.UNKNOWN), *numbers(machine, calls.UNBOUND)}
    sockets = {41, 53} if machine == "x86_64" else {198, 199}
    for number in range(calls.NEWEST + 1):
        if number not in special | sockets:
            assert verdict(machine, number, soft=soft) == ALLOW, number
    for number in (calls.NEWEST + 1, 1000, 0x3FFFFFFF):
        assert verdict(machine, number, soft=soft) == ERRNO | ENOSYS


def test_another_architecture_is_killed_and_x32_is_unknown() -> None:
    program = calls.assemble(calls.program("x86_64", soft=False))
    assert run(program, 1, 0x40000003) == KILL  # 32-bit calls
    assert run(program, 1, ARCHITECTURES["aarch64"]) == KILL
    assert run(program, 0x40000000 | 1, ARCHITECTURES["x86_64"]) == ERRNO | ENOSYS


@MACHINES
def test_calls_that_are_judged_by_their_arguments(machine: str) -> None:
    clone, ioctl, socket, mmap = (56, 16, 41, 9) if machine == "x86_64" else (220, 29, 198, 222)
    assert verdict(machine, clone, 0x01200011) == ALLOW  # as fork does
    assert verdict(machine, clone, 0x003D0F00) == ALLOW  # as a thread is made
    for flag in (0x00020000, 0x02000000, 0x04000000, 0x08000000, 0x10000000, 0x20000000, 0x40000000, 0x80):
        assert verdict(machine, clone, flag | 17) == ERRNO | EPERM, hex(flag)
    assert verdict(machine, ioctl, 1, 0x5401) == ALLOW
    for request in (0x5412, 0x541C, 0x1_0000_5412):
        assert verdict(machine, ioctl, 1, request) == ERRNO | EPERM
    for family in range(64):
        wanted = ALLOW if family in (1, 2, 10, 16) else ERRNO | EAFNOSUPPORT
        assert verdict(machine, socket, family) == wanted, family
        assert verdict(machine, socket, family, namespaces=False) == ERRNO | EPERM
    private, shared, anonymous = 2, 1, 0x20
    assert verdict(machine, mmap, 0, 1, 3, private | anonymous) == ALLOW
    assert verdict(machine, mmap, 0, 1, 3, shared) == ALLOW
    assert verdict(machine, mmap, 0, 1, 3, shared | anonymous) == ERRNO | EPERM
    assert verdict(machine, mmap, 0, 1, 3, 3 | anonymous) == ERRNO | EPERM  # MAP_SHARED_VALIDATE
    assert verdict(machine, mmap, 0, 1, 3, shared | anonymous, soft=False) == ALLOW


@given(
    st.sampled_from(list(ARCHITECTURES)), st.booleans(), st.integers(0, 0xFFFFFFFF), st.integers(0, 0xFFFFFFFF),
    st.lists(st.integers(0, 2**64 - 1), max_size=6),
)  # fmt: skip
def test_every_call_gets_a_verdict(machine: str, soft: bool, number: int, architecture: int, arguments: list) -> None:
    program = calls.assemble(calls.program(machine, soft=soft))
    found = run(program, number, architecture, tuple(arguments))
    assert found in {ALLOW, KILL, ERRNO | EPERM, ERRNO | ENOSYS, ERRNO | EAFNOSUPPORT}
    if architecture != ARCHITECTURES[machine]:
        assert found == KILL


@MACHINES
@pytest.mark.parametrize("soft", [True, False])
def test_the_program_fits_and_no_jump_leaves_it(machine: str, soft: bool) -> None:
    steps = calls.program(machine, soft=soft)
    assert len(steps) < 4096
    for place, step in enumerate(steps):
        if step.code not in (0x20, 0x06):
            assert place + 1 + max(step.then, step.otherwise) < len(steps)
    assert steps[-1].code == 0x06


@pytest.mark.parametrize(
    ("machine", "soft", "digest"),
    [
        ("x86_64", True, "47aa8c59e5fcf0bc"),
        ("x86_64", False, "8093e9afaf2a7ae8"),
        ("aarch64", True, "b8f298290a88b4fe"),
        ("aarch64", False, "f5db3065054871c9"),
    ],
)
def test_the_programs_are_these_byte_for_byte(machine: str, soft: bool, digest: str) -> None:
    """A change of the filter is a change of what handlers may do: it is meant, and said in docs/security.md."""
    assert hashlib.sha256(calls.assemble(calls.program(machine, soft=soft))).hexdigest()[:16] == digest
