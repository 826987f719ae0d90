"""What of a batch one call may carry."""

from __future__ import annotations

from collections.abc import Collection, Sequence

import pytest

from triggerhub.policy import calling


@pytest.mark.parametrize(
    ("keys", "expected"),
    [
        pytest.param([], {}, id="nothing"),
        pytest.param(["a", "b"], {}, id="each has its own"),
        pytest.param(["a", "b", "a", "a"], {2: 0, 3: 0}, id="all repeat the first"),
        pytest.param([None, None, "a", None, "a"], {4: 2}, id="what has no key repeats nothing"),
    ],
)
def test_repeats(keys: Sequence[str | None], expected: dict[int, int]) -> None:
    assert calling.repeats(keys) == expected


@pytest.mark.parametrize(
    ("lines", "withheld", "expected"),
    [
        pytest.param([], [], set(), id="nothing"),
        pytest.param(["x", "x"], [], set(), id="none is withheld"),
        pytest.param(["x", "x", "x"], [0], {1, 2}, id="all behind it"),
        pytest.param(["x", "x", "x"], [1], {2}, id="not what is before it"),
        pytest.param(["x", "x", "x"], [2, 0], {1, 2}, id="the first that is withheld counts"),
        pytest.param(["x", "y", "x", "y"], [1], {3}, id="other lines go on"),
        pytest.param([None, None, "x"], [0], set(), id="what has no line is overtaken"),
    ],
)
def test_overtaking(lines: Sequence[str | None], withheld: Collection[int], expected: set[int]) -> None:
    assert calling.overtaking(lines, withheld) == expected
