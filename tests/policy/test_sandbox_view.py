"""What a sandbox sees is named, in an order in which it can be mounted, and never the hub's own."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from triggerhub.policy.sandbox import rights, view
from triggerhub.policy.sandbox.view import Mount, mounts, objection, within

MERGED = {"/usr": "/usr", "/bin": "/usr/bin", "/lib": "/usr/lib", "/etc/localtime": "/usr/share/zoneinfo/UTC"}
FIXED = [("/srv/var/versions/f/1", "/var/task")]


def test_a_merged_usr_is_one_mount_and_links() -> None:
    made, links = mounts(MERGED, prefixes=[], fixed=FIXED)
    assert made == [
        Mount("/usr", "/usr"),
        Mount("/etc/localtime", "/usr/share/zoneinfo/UTC"),
        Mount("/var/task", "/srv/var/versions/f/1"),
    ]
    assert links == [("/bin", "/usr/bin"), ("/lib", "/usr/lib")]


def test_separate_folders_are_mounts() -> None:
    made, links = mounts({"/usr": "/usr", "/bin": "/bin"}, prefixes=[], fixed=[])
    assert [one.target for one in made] == ["/bin", "/usr"]
    assert links == []


def test_an_interpreter_within_what_is_seen_anyway_is_not_mounted_again() -> None:
    found = {"/usr": "/usr", "/usr/local": "/usr/local", "/opt/py": "/opt/py"}
    made, _ = mounts(found, prefixes=["/usr/local", "/opt/py"], fixed=[])
    assert [one.target for one in made] == ["/usr", "/opt/py"]


def test_a_folder_that_may_be_written_lies_over_one_that_may_be_read() -> None:
    found = {"/srv/a": "/srv/a", "/srv/a/out": "/mnt/out"}
    made, _ = mounts(found, prefixes=[], fixed=[], read=["/srv/a", "/srv/a/out"], write=["/srv/a/out"])
    assert made == [Mount("/srv/a", "/srv/a"), Mount("/srv/a/out", "/mnt/out", "write")]


@given(
    st.lists(st.sampled_from(["/a", "/a/b", "/a/b/c", "/d", "/usr/x", "/tmp/y"]), unique=True),
    st.lists(st.sampled_from(["/a", "/a/b", "/a/b/c", "/d", "/tmp/y"]), unique=True),
)
def test_whatever_is_granted_is_seen_once_parents_first_and_as_it_was_granted(read: list, write: list) -> None:
    found = {path: path for path in (*MERGED, *read, *write)} | MERGED
    made, _ = mounts(found, prefixes=[], fixed=FIXED, read=read, write=write)
    targets = [one.target for one in made]
    assert len(set(targets)) == len(targets)
    for place, target in enumerate(targets):
        assert not any(within(earlier, target) for earlier in targets[:place] if earlier != target)

    def seen(path: str) -> Mount:
        return max((one for one in made if within(path, one.target)), key=lambda one: len(one.target))

    for path in write:
        assert seen(path).access == "write"
    for path in read:
        if not any(within(path, granted) for granted in write):
            assert seen(path).access == "read"
    assert not any(one.access == "write" and not any(within(one.target, path) for path in write) for one in made)


@pytest.mark.parametrize(
    ("path", "why"),
    [
        ("/", "whole host"),
        ("/tmp", "has its own"),
        ("/proc/1", "/proc is the sandbox's own; name a folder elsewhere"),
        ("/dev", "/dev is"),
        ("/var/task/x", "/var/task is"),
        ("/srv/project/var", "the hub's data"),
        ("/srv/project/var/secrets", "the hub's data"),
        ("/srv/project", "the hub's data is in it (/srv/project/var)"),
        ("/srv", "the hub's data is in it"),
        ("/srv/project/inbox", None),
        ("/srv/project/variety", None),
        ("/tmp/x", None),
        ("/usr/share/x", None),
    ],
)
def test_what_no_handler_is_shown(path: str, why: str | None) -> None:
    said = objection(path, "/srv/project/var")
    assert (said is None) == (why is None)
    assert why is None or why in said


USR, DATA, PROJECT = Mount("/usr", "/usr"), "/usr/local/p/var", "/usr/local/p"


@pytest.mark.parametrize(
    ("mounts", "granted", "expected"),
    [
        pytest.param([Mount("/opt", "/opt")], [], [], id="beside it"),
        pytest.param([USR], [], [DATA, PROJECT], id="among the system's"),
        pytest.param([USR, Mount(PROJECT, PROJECT)], [PROJECT], [DATA], id="the project is granted"),
        pytest.param([Mount("/a", "/usr/local")], [], ["/a/p/var", "/a/p"], id="at another place"),
        pytest.param([Mount("/a", "/usr/local")], ["/a"], ["/a/p/var"], id="at another place, granted"),
        pytest.param([Mount("/a", DATA)], ["/a"], ["/a"], id="itself"),
        pytest.param([Mount("/a", f"{DATA}/x")], ["/a"], [], id="a part of it"),
        pytest.param([USR, Mount(f"{PROJECT}/in", f"{PROJECT}/in")], [f"{PROJECT}/in"], [DATA, PROJECT], id="within"),
    ],
)
def test_what_is_the_hubs_is_hidden_in_whatever_shows_it(mounts: list, granted: list, expected: list) -> None:
    assert view.hidden(mounts, DATA, PROJECT, granted) == expected


@pytest.mark.parametrize("version", range(1, 9))
def test_landlock_allows_nothing_that_its_kernel_does_not_know(version: int) -> None:
    known = rights.ruled(version)
    for path, allowed in rights.below(version, [("/srv", True), ("/srv/file", False)]):
        assert allowed & ~known == 0, path
    assert rights.READING & ~known == 0
    assert bool(rights.scoped(version)) == (version >= 6)


def test_landlock_lets_nobody_make_devices_and_files_be_folders() -> None:
    rules = dict(rights.below(7, [("/out", True), ("/file", False)]))
    assert not any(allowed & (rights.MAKE_CHAR | rights.MAKE_BLOCK) for allowed in rules.values())
    assert rules["/file"] & ~rights.OF_FILES == 0
    assert rules["/file"] & rights.WRITE_FILE
    assert view.TASK not in rules


@given(st.integers(6, 9))
def test_without_namespaces_only_what_is_named_is_allowed_and_only_what_is_to_be_is_written(version: int) -> None:
    rules = dict(rights.alone(version, [("/usr", True), ("/etc/hosts", False)], [("/srv", True), ("/srv/file", False)]))
    assert "/" not in rules
    assert "/proc" not in rules
    writing = rights.WRITE_FILE | rights.TRUNCATE | rights.MAKE_CHAR | rights.MAKE_BLOCK
    written = {path for path, allowed in rules.items() if allowed & writing}
    assert {path for path in written if not path.startswith("/dev/")} == {"/srv", "/srv/file"}
    for path in ("/etc/hosts", "/srv/file"):
        assert rules[path] & ~rights.OF_FILES == 0  # what is a folder's right, the kernel refuses for a file
    assert all(0 < allowed <= rights.ruled(version) for allowed in rules.values())
