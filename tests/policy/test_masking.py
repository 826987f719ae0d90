"""Secrets are dots wherever they stand in a text."""

from __future__ import annotations

import base64
import html
import json
import random
import re
import time
from collections.abc import Callable
from urllib.parse import quote, quote_plus, urlencode

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from triggerhub.policy.masking import CUT, DOTS, PART, SHORTEST, Mask, mask, restored, secrets_in, shortened
from triggerhub.settings import ConsoleSettings, Function, Secret, User


def test_secrets_are_found_wherever_settings_hold_them() -> None:
    function = Function(name="f", runtime="python", env={"A": "plain", "B": Secret("in the environment")})
    console = ConsoleSettings(users={"anna": User(hash=Secret("a hash"))})
    found = [one.reveal() for one in secrets_in((function, console, {"x": [Secret("deep")]}))]
    assert found == ["in the environment", "a hash", "deep"]


def test_without_a_secret_worth_masking_nothing_is_done() -> None:
    assert mask([]) is None
    assert mask([Secret("a" * (SHORTEST - 1))]) is None


@settings(max_examples=60)
@given(secret=st.text(min_size=SHORTEST, max_size=30), around=st.text(max_size=20))
def test_a_secret_is_masked_as_it_is_and_as_json_writes_it(secret: str, around: str) -> None:
    masked = mask([Secret(secret), Secret(secret + " and more")])
    assert masked is not None
    assert secret not in masked(f"{around}{secret}{around}") or secret in around + DOTS + around
    assert masked(json.dumps({"k": secret})) == json.dumps({"k": DOTS}, ensure_ascii=False)
    assert masked(secret + " and more") == DOTS


def of(*secrets: str) -> Mask:
    made = mask(map(Secret, secrets))
    assert made is not None
    return made


@settings(max_examples=60)
@given(secret=st.text(min_size=SHORTEST, max_size=30), around=st.sampled_from(["", "body of a request: "]))
def test_json_stays_json_however_deep_a_secret_lies_in_it(secret: str, around: str) -> None:
    inner = json.dumps({"token": secret, "n": 1.10})
    payload = json.dumps({"body": around + inner, "more": [secret, 1e-7]}).encode()
    told = json.loads(of(secret).payload(payload))
    assert json.loads(told["body"][len(around) :]) == {"token": DOTS, "n": 1.1}
    assert told["more"] == [DOTS, 1e-7]


@settings(max_examples=60)
@given(secret=st.text(min_size=SHORTEST, max_size=30), before=st.binary(max_size=7), after=st.binary(max_size=7))
def test_a_secret_is_masked_in_base64_with_every_character_that_holds_a_bit_of_it(
    secret: str, before: bytes, after: bytes
) -> None:
    whole, masked = before + secret.encode() + after, of(secret)
    for encode in (base64.b64encode, base64.urlsafe_b64encode):
        text = encode(whole).decode()
        begins, ends = len(before) * 8 // 6, -(-(len(before) + len(secret.encode())) * 8 // 6)
        assert masked(f"<{text}>") == f"<{text[:begins]}{DOTS}{text[ends:]}>"


FORMS: list[Callable[[str], str]] = [
    lambda text: quote(text, safe=""),
    lambda text: quote_plus(text),
    lambda text: re.sub("%..", lambda found: found[0].lower(), quote(text, safe="")),
    lambda text: quote(quote(text, safe=""), safe=""),
    lambda text: quote(json.dumps(text)[1:-1], safe=""),
    lambda text: json.dumps(text)[1:-1],
    lambda text: json.dumps(json.dumps(text)),
    lambda text: json.dumps(json.dumps(json.dumps(text))),
    lambda text: json.dumps(text, ensure_ascii=False)[1:-1].replace("/", "\\/"),
    lambda text: json.dumps({"body": json.dumps({"token": text}, ensure_ascii=False)}),
    lambda text: json.dumps({"message": json.dumps({"body": json.dumps({"token": text})})}),
    lambda text: base64.b64encode(json.dumps({"token": text}).encode()).decode(),
    lambda text: base64.b64encode(urlencode({"token": text}).encode()).decode(),
    lambda text: quote(base64.b64encode(f"user:{text}".encode()).decode(), safe=""),
    lambda text: text.encode().hex(),
    lambda text: json.dumps({"token": text}).encode().hex().upper(),
    lambda text: base64.encodebytes(f"{'a line of its own: ':*<57}{text}".encode()).decode(),
    lambda text: html.escape(text),
    repr,
    lambda text: repr(text.encode()),
]


@settings(max_examples=15)
@given(secret=st.text(alphabet=st.characters(codec="utf-8"), min_size=SHORTEST, max_size=20))
def test_a_secret_is_masked_however_it_is_written(secret: str) -> None:
    masked = of(secret)
    for number, form in enumerate(FORMS):
        assert DOTS in masked(form(secret)), (number, form(secret))


WRAPPED: dict[str, tuple[Callable[[bytes], str], int, int]] = {
    "base64": (lambda data: base64.b64encode(data).decode(), 6, 4),
    "web-safe": (lambda data: base64.urlsafe_b64encode(data).decode(), 6, 4),
    "hex": (bytes.hex, 4, 6),
    "HEX": (lambda data: data.hex().upper(), 4, 6),
}
"""How bytes are written in lines, how many bits a character has, and the characters of a part that is seen as one."""


@pytest.mark.parametrize("code", WRAPPED)
@settings(max_examples=60)
@given(
    secret=st.text(alphabet="abcdefghij0123456789\\\xff\xfe?>", min_size=12, max_size=150),
    before=st.integers(0, 150),
    width=st.sampled_from([60, 64, 76]),
    end=st.sampled_from(["\n", "\r\n", "\n  "]),
)
def test_a_secret_that_is_broken_into_lines_is_dots_in_each(
    code: str, secret: str, before: int, width: int, end: str
) -> None:
    encode, bits, least = WRAPPED[code]
    data = secret.encode()
    whole, masked = encode(b"\0" * before + data + b"\0" * 100), of(secret)
    lines = [whole[at : at + width] for at in range(0, len(whole), width)]
    begins, ends = -(-before * 8 // bits), (before + len(data)) * 8 // bits
    shown = {
        "in a text": masked(end.join(lines)).split(end),
        "in JSON": json.loads(masked.payload(json.dumps({"mail": end.join(lines)}).encode()))["mail"].split(end),
        "in an event to edit": masked.numbered(json.dumps(end.join(lines)))[0][1:-1].split(json.dumps(end)[1:-1]),
        "one by one": list(map(masked.line, lines)),
    }
    for where, told in shown.items():
        if where == "in JSON" and told == [DOTS]:
            continue  # the n of an escape was taken for a character of it
        assert len(told) == len(lines), where
        for number, line in enumerate(told):
            own = lines[number][max(begins - number * width, 0) : max(ends - number * width, 0)]
            assert len(own) < least or (own not in line and DOTS in line), (where, own, line)


def test_lines_that_only_look_like_a_part_are_shown() -> None:
    masked = of(*(f"a secret, number {number}" for number in range(50)))
    block = base64.encodebytes(random.Random(7).randbytes(20_000)).decode()
    numbers = [str(number) for number in range(0, 2_000_000, 997)]
    for text in (block, block.encode().hex(), *block.splitlines(), *numbers, "started", "token", "done", "OK"):
        assert masked(text) == masked.line(text) == text
    assert masked.numbered(json.dumps(block)) == (json.dumps(block), {})


@pytest.mark.parametrize(
    "text",
    [
        "https://h/?token=p%40ss+w%2Frd%22%C3%A9&x=1",
        "https://h/?token=p%40ss%20w%2frd%22%c3%a9&x=1",
        'token=p%40ss w/rd"%C3%A9&x=1',
    ],
)
def test_of_a_form_nothing_else_is_hidden(text: str) -> None:
    assert of('p@ss w/rd"é')(text) == f"{text.partition('=')[0]}={DOTS}&x=1"


@settings(max_examples=40)
@given(
    secret=st.text(alphabet='abcdefghijkl/+%é"\\', min_size=SHORTEST, max_size=20),
    at=st.integers(PART, 17),
    form=st.sampled_from([str, quote, lambda text: json.dumps(text)[1:-1]]),
)
def test_the_parts_of_a_secret_at_a_cut_are_dots(secret: str, at: int, form: Callable[[str], str]) -> None:
    written, masked = form(secret), of(secret)
    head, tail = written[:at], written[at:]
    if len(head) < len(written):
        assert masked(f"password: {head}{CUT}") == f"password: {DOTS}{CUT}"
    if len(tail) >= PART:
        assert masked(f"{CUT}{tail} was refused") == f"{CUT}{DOTS} was refused"


def test_a_text_that_is_shortened_shows_no_part_of_a_secret() -> None:
    text = f"{'x' * 90}the password is hunter2-and-more"
    masked = of("hunter2-and-more")
    for most in range(95, len(text)):
        shown = masked(shortened(text, most))
        assert "hun" not in shown, most
        assert len(shortened(text, most)) == most
    assert masked(shortened(text, len(text))) == f"{'x' * 90}the password is {DOTS}"


def test_what_merely_stands_beside_a_cut_is_shown() -> None:
    assert of("hunter2")("the hunt… is on; waiting…") == "the •••… is on; waiting…"
    assert of("hunter2")("… er2 …") == "… er2 …"


@pytest.mark.parametrize(
    "text",
    ["hun" * 20_000, "er2" * 20_000, "hun…" * 20_000, "…er2" * 20_000, "\\" * 60_000,
     f"{'aHVu' * 19}\n" * 800, f"{'ZXIy' * 19}\\n" * 800, f"{'6875' * 40_000}\\", "\\n" * 30_000]
)  # fmt: skip
def test_a_text_made_for_it_takes_no_long_time(text: str) -> None:
    masked = of("hunter2", 'a\\"b\\\\c"d', "\\\\\\\\\\\\")
    began = time.process_time()
    masked(text + "…")
    assert time.process_time() - began < 20  # it would be hours


@pytest.mark.parametrize(
    ("secret", "payload", "shown"),
    [
        pytest.param("123456", b'{"n":1.123456,"t":"123456"}', '{"n":1.123456,"t":"•••"}', id="digits"),
        pytest.param("nabcdef", rb'{"t":"a\nabcdef"}', '{"t":"•••"}', id="begins within an escape"),
        pytest.param("hunter2", b"hunter2 \xff", b"\xe2\x80\xa2\xe2\x80\xa2\xe2\x80\xa2 \xff", id="no text"),
        pytest.param("hunter2", b'{ "n" :1.10,"t":"x" }', '{ "n" :1.10,"t":"x" }', id="none in it"),
    ],
)
def test_a_payload_is_masked_and_otherwise_what_it_was(secret: str, payload: bytes, shown: str | bytes) -> None:
    assert of(secret).payload(payload) == (shown.encode() if isinstance(shown, str) else shown)


def test_each_line_of_a_secret_of_several_is_one() -> None:
    assert of("-----BEGIN KEY-----\nMIIEvQIBADAN\nab\n")("key: MIIEvQIBADAN ab") == "key: ••• ab"


@settings(max_examples=60)
@given(parts=st.lists(st.sampled_from(["hunter2", 's"cret\\x', "•••1•••", "•••", "plain"]), max_size=8))
def test_what_is_shown_for_editing_is_restored_as_it_was(parts: list[str]) -> None:
    masked = of("hunter2", 's"cret\\x')
    for text in (" ".join(parts), json.dumps(parts)):
        shown, marks = masked.numbered(text)
        assert "hunter2" not in shown
        assert restored(shown, marks) == text


def test_marks_go_where_they_are_moved_and_nothing_else_is_restored() -> None:
    shown, marks = of("hunter2", "swordfish").numbered("a hunter2 b swordfish c hunter2")
    assert shown == "a •••1••• b •••2••• c •••1•••"
    assert restored("•••2••• then •••1•••, not •••3•••", marks) == "swordfish then hunter2, not •••3•••"
