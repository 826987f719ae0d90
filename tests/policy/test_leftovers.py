"""What editors leave is told from code and data by its name."""

from __future__ import annotations

import pytest

from triggerhub.policy.leftovers import leftover, passing


@pytest.mark.parametrize(
    "name",
    [".#index.py", "#index.py#", "index.py~", ".index.py.swp", ".index.py.swo", ".index.py.swx", "4913"],
)
def test_what_an_editor_leaves(name: str) -> None:
    assert leftover(name)


@pytest.mark.parametrize(
    "name", ["index.py", ".env", "#notes", "page.tmpl", "a.tmp", "tmp", "old.pyc", "a.swf", "1.2.4913", ""]
)
def test_what_is_meant_to_be_there(name: str) -> None:
    assert not leftover(name)


def test_what_is_renamed_once_it_is_whole_is_no_reason_to_reload_and_may_be_data() -> None:
    assert [one("a.tmp") for one in (leftover, passing)] == [False, True]
