"""Frames survive any cutting of the stream, and what is no frame is refused."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from triggerhub.runtimes.frames import HEAD, MAX_HEADER, Decoder, Frame, Kind, Malformed, encode

FRAMES = st.builds(
    Frame,
    kind=st.sampled_from(Kind),
    header=st.dictionaries(st.text(max_size=8), st.text(max_size=20), max_size=4),
    payload=st.binary(max_size=200),
)


@given(st.lists(FRAMES, max_size=5), st.data())
def test_frames_arrive_as_they_were_sent_however_the_stream_is_cut(sent: list[Frame], data: st.DataObject) -> None:
    stream = b"".join(encode(*frame) for frame in sent)
    decoder, got = Decoder(), []
    while stream:
        size = data.draw(st.integers(1, len(stream)))
        got += decoder.feed(stream[:size])
        stream = stream[size:]
    assert got == sent


@given(st.binary(min_size=HEAD.size, max_size=100))
def test_noise_is_refused(noise: bytes) -> None:
    if not noise.startswith(b"TH"):
        with pytest.raises(Malformed):
            Decoder().feed(noise)


@given(FRAMES, st.data())
def test_a_flipped_bit_in_front_is_refused_or_another_kind(frame: Frame, data: st.DataObject) -> None:
    stream = bytearray(encode(*frame))
    bit = data.draw(st.integers(0, 4 * 8 - 1))
    stream[bit // 8] ^= 1 << bit % 8
    try:
        got = Decoder().feed(bytes(stream))
    except Malformed:
        return
    assert [(f.header, f.payload) for f in got] == [(frame.header, frame.payload)]
    assert got[0].kind != frame.kind


def head(magic: bytes = b"TH", kind: int = 4, zero: int = 0, header: int = 2, payload: int = 0) -> bytes:
    return HEAD.pack(magic, kind, zero, header, payload)


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(head(magic=b"HT"), id="other magic"),
        pytest.param(head(kind=0), id="kind below"),
        pytest.param(head(kind=max(Kind) + 1), id="kind above"),
        pytest.param(head(zero=1), id="a bit in the gap"),
        pytest.param(head(header=MAX_HEADER + 1), id="header too long"),
        pytest.param(head(payload=1001), id="payload too long"),
        pytest.param(head(header=1) + b"{", id="no JSON"),
        pytest.param(head() + b"[]", id="no object"),
        pytest.param(head(header=7) + b'{"a":1}', id="no string"),
        pytest.param(head(header=17) + b'{"a":"1","a":"2"}', id="a key twice"),
        pytest.param(head(header=60_000) + b"[" * 60_000, id="nested too deep"),
        pytest.param(head(header=3) + b'"\xff"', id="no UTF-8"),
    ],
)
def test_what_is_no_frame_is_malformed(data: bytes) -> None:
    with pytest.raises(Malformed):
        Decoder(limit=1000).feed(data)


def test_a_frame_that_is_not_there_yet_gives_nothing() -> None:
    decoder = Decoder()
    frame = encode(Kind.RESULT, {"id": "r"}, b"x" * 100)
    assert decoder.feed(frame[:-1]) == []
    assert decoder.feed(frame[-1:]) == [Frame(Kind.RESULT, {"id": "r"}, b"x" * 100)]
