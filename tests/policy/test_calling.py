"""What of a batch one call may carry."""

from __future__ import annotations

from collections.abc import Sequence

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
