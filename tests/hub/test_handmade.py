"""What is sent by hand is JSON, however much of it there is."""

from __future__ import annotations

import threading

import pytest

from triggerhub.errors import BadInput
from triggerhub.hub import handmade

MANY = "[" + "[]," * 100_000


@pytest.mark.parametrize("text", [MANY + "1]", MANY + '"\\u00e9 é"]', MANY + "-1.5e3]"])
async def test_many_values_are_looked_at_beside_the_loop_and_without_making_them(
    text: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[threading.Thread] = []
    is_json = handmade._is_json

    def looked(body: str) -> bool:
        seen.append(threading.current_thread())
        return is_json(body)

    monkeypatch.setattr(handmade, "_read", None)
    monkeypatch.setattr(handmade, "_is_json", looked)
    await handmade.check_json(text.encode())
    assert len(seen) == 1
    assert seen[0] is not threading.main_thread()


@pytest.mark.parametrize("end", ["", "]x", "NaN]", "01]", "'a']", "{a:1}]", "]\0", '"\n"]', '"\\x"]', "]\udcff"])
async def test_many_values_that_are_no_json_are_refused_as_few_are(end: str) -> None:
    for begin in (MANY, "["):
        with pytest.raises(BadInput, match="Could not parse request body into json"):
            await handmade.check_json((begin + end).encode(errors="surrogateescape"))


async def test_one_large_text_is_read_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(handmade, "_is_json", None)
    await handmade.check_json(b'"%b"' % (b"a, " * 10 + b"x" * 1_000_000))
