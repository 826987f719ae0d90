"""What is told of a file, and under which names it is kept."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from triggerhub.policy import inventory
from triggerhub.policy.inventory import Change, Inventory, Version

ONE = Version(1, 2, 3, 4)
TOUCHED = Version(1, 2, 3, 99)
OTHER = Version(1, 5, 3, 5)


def differences(known: dict[str, Version], seen: dict[str, Version], unread: tuple[str, ...] = ()) -> list[str]:
    comparison = inventory.Comparison(dict(known))
    for path, version in seen.items():
        comparison.saw(path, version)
    assert comparison.fresh == {path: version for path, version in seen.items() if path not in known}
    return sorted(comparison.news(unread))


NAMES = st.text(st.characters(blacklist_characters="/\0", blacklist_categories=["Cs"]), min_size=1, max_size=12)
BYTES = st.binary(min_size=1, max_size=12).filter(lambda raw: not set(raw) & set(b"/\0"))
PATHS = st.lists(NAMES | BYTES.map(lambda raw: raw.decode("utf-8", "surrogateescape")), min_size=1, max_size=4).map(
    "/".join
)
VERSIONS = st.builds(Version, *[st.integers(-(2**63), 2**63 - 1)] * 4)


@pytest.mark.parametrize(
    ("known", "seen", "expected"),
    [
        pytest.param(None, None, None, id="never was"),
        pytest.param(None, ONE, "created", id="new"),
        pytest.param(ONE, ONE, None, id="same"),
        pytest.param(ONE, TOUCHED, None, id="only its mode or name changed"),
        pytest.param(ONE, OTHER, "modified", id="changed"),
        pytest.param(ONE, None, "deleted", id="gone"),
    ],
)
def test_change(known: Version | None, seen: Version | None, expected: Change | None) -> None:
    assert inventory.change(known, seen) == expected


@given(known=st.dictionaries(PATHS, VERSIONS, max_size=6), seen=st.dictionaries(PATHS, VERSIONS, max_size=6))
def test_a_scan_names_every_path_that_something_happened_to_once(
    known: dict[str, Version], seen: dict[str, Version]
) -> None:
    expected = [path for path in known | seen if inventory.change(known.get(path), seen.get(path))]
    assert differences(known, seen) == sorted(expected)


def test_of_folders_that_could_not_be_read_nothing_is_said() -> None:
    known = {"shut/a": ONE, "shut/deep/b": ONE, "shutter": ONE, "gone": ONE}
    assert differences(known, {}, ("shut",)) == ["gone", "shutter"]


@given(versions=st.dictionaries(PATHS, VERSIONS, max_size=5))
def test_what_is_stored_is_read_back(versions: dict[str, Version]) -> None:
    stored = {inventory.key(path): version.encode() for path, version in versions.items()}
    assert len(stored) == len(versions)
    "".join([*stored, *stored.values()]).encode("ascii")
    assert inventory.read({**stored, "scope": "another thing"}) == versions


@given(path=PATHS, other=PATHS, version=VERSIONS, changed=VERSIONS)
def test_dedup_keys_tell_paths_versions_and_removals_apart(
    path: str, other: str, version: Version, changed: Version
) -> None:
    keys = {
        inventory.dedup_key(name, v, change)
        for name in {path, other}
        for v in {version, changed}
        for change in ("created", "deleted")
    }
    assert len(keys) == len({path, other}) * len({version, changed}) * 2


def test_a_dedup_key_of_the_longest_paths_stays_within_a_kilobyte_and_tells_them_apart() -> None:
    longest = Version(2**63, 2**63, 2**63, 2**63)
    keys = {inventory.dedup_key("日" * 1300 + end, longest, "deleted") for end in ("a", "b")}
    assert len(keys) == 2
    assert all(len(key) <= 1024 for key in keys)


@given(paths=st.lists(PATHS, max_size=12), gone=st.data())
def test_folders_are_known_as_long_as_files_are_in_them(paths: list[str], gone: st.DataObject) -> None:
    known = Inventory()
    for path in paths:
        known.put(path, ONE)
    left = set(paths)
    for path in gone.draw(st.lists(st.sampled_from(paths), max_size=12) if paths else st.just([])):
        known.put(path, None)
        left.discard(path)
    folders = {"/".join(path.split("/")[:depth]) for path in left for depth in range(1, path.count("/") + 1)}
    everything = {"/".join(path.split("/")[:depth]) for path in paths for depth in range(1, path.count("/") + 2)}
    assert {folder for folder in everything if known.is_folder(folder)} == folders
    assert known.snapshot().keys() == left
    assert len(known) == len(left)


def test_below_takes_whole_names() -> None:
    assert inventory.below(["a"], ["a", "a/b", "ab", "a/b/c", "b/a/c"]) == ["a/b", "a/b/c"]
    assert inventory.below([], ["a/b"]) == []
