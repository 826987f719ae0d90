"""Which files were there before anybody asked for them."""

from __future__ import annotations

from triggerhub.policy.baseline import Baseline, Existing, Scope, begin
from triggerhub.policy.inventory import Version

CSV = Scope(root="/in", include=("*.csv",), exclude=())
ALL = Scope(root="/in", include=("*",), exclude=(".*",))
ELSEWHERE = Scope(root="/out", include=("*.csv",), exclude=())


def at(ctime: int) -> Version:
    return Version(1, 1, 1, ctime)


def test_at_the_first_start_all_that_lies_there_is_existing() -> None:
    existing = Existing(begin(None, CSV, now=100))
    assert existing.covers("a.csv", at(100))
    assert not existing.covers("a.csv", at(101))


def test_a_first_scan_that_was_cut_short_goes_on_from_its_own_moment() -> None:
    first = begin(None, CSV, now=100)
    again = begin(first.encode(), CSV, now=200)
    assert again == first
    assert not Existing(again).covers("late.csv", at(150))


def test_after_the_scan_nothing_unknown_is_existing() -> None:
    done = begin(None, CSV, now=100).done()
    assert begin(done.encode(), CSV, now=200) == done
    assert not Existing(done).covers("a.csv", at(1))


def test_globs_that_select_more_make_only_the_newly_selected_existing() -> None:
    wider = begin(begin(None, CSV, now=100).done().encode(), ALL, now=200)
    existing = Existing(wider)
    assert existing.covers("old.txt", at(150))
    assert not existing.covers("late.csv", at(150))
    assert not existing.covers("new.txt", at(201))


def test_globs_changed_twice_before_a_scan_still_know_what_was_told() -> None:
    told = begin(None, CSV, now=100).done()
    between = begin(told.encode(), ALL, now=200)
    last = begin(between.encode(), Scope(root="/in", include=("**/*",), exclude=()), now=300)
    assert last.before == CSV
    assert begin(begin(None, CSV, now=100).encode(), ALL, now=200).before is None


def test_another_folder_is_a_first_start() -> None:
    assert begin(begin(None, CSV, now=100).done().encode(), ELSEWHERE, now=200) == Baseline(scope=ELSEWHERE, since=200)


def test_a_root_that_is_not_utf_8_is_stored() -> None:
    odd = begin(None, Scope(root="/in/\udcff", include=("*",), exclude=()), now=1)
    odd.encode().encode()
    assert Baseline.decode(odd.encode()) == odd
