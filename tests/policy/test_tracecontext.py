"""One trace in two spellings."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from triggerhub.policy import tracecontext
from triggerhub.policy.tracecontext import Place

TRACE, SPAN = "5759e988bd862e3fe1be46a994272793", "53995c3f42cd8ad8"


@pytest.mark.parametrize(
    ("header", "place"),
    [
        (f"Root=1-{TRACE[:8]}-{TRACE[8:]};Parent={SPAN};Sampled=1", Place(trace=TRACE, span=SPAN, sampled=True)),
        (f"Sampled=0; Root=1-{TRACE[:8]}-{TRACE[8:]}", Place(trace=TRACE, sampled=False)),
        (f"Self=1-x;Root=1-{TRACE[:8].upper()}-{TRACE[8:]};Sampled=?", Place(trace=TRACE)),
        (f"Root=1-{TRACE[:8]}-{TRACE[8:]};Parent=0000000000000000", Place(trace=TRACE)),
        (f"Root=1-{TRACE[:8]}-{TRACE[8:]}" + " " * 1024, None),
        ("Root=1", None),
        ("Root", None),
        ("", None),
        (None, None),
    ],
)
def test_amazons_header_is_read(header: str | None, place: Place | None) -> None:
    assert tracecontext.of_amazon(header) == place


@pytest.mark.parametrize(
    ("header", "place"),
    [
        (f"00-{TRACE}-{SPAN}-01", Place(trace=TRACE, span=SPAN, sampled=True)),
        (f"00-{TRACE}-{SPAN}-00", Place(trace=TRACE, span=SPAN, sampled=False)),
        (f"cc-{TRACE}-{SPAN}-03-later", Place(trace=TRACE, span=SPAN, sampled=True)),
        (f"00-{TRACE}-{SPAN}-01-later", None),
        (f"ff-{TRACE}-{SPAN}-01", None),
        (f"00-{'0' * 32}-{SPAN}-01", None),
        (f"00-{TRACE}-{'0' * 16}-01", None),
        (f"00-{TRACE.upper()}-{SPAN}-01", None),
        ("", None),
        (None, None),
    ],
)
def test_w3cs_header_is_read(header: str | None, place: Place | None) -> None:
    assert tracecontext.of_w3c(header) == place


def test_a_request_keeps_amazons_header_or_gets_one() -> None:
    amazon = f"Root=1-{TRACE[:8]}-{TRACE[8:]};Parent={SPAN};Sampled=1"
    assert tracecontext.incoming(None, f"00-{TRACE}-{SPAN}-01") == amazon
    assert tracecontext.incoming("Root=mine", f"00-{TRACE}-{SPAN}-01") == "Root=mine"
    assert tracecontext.incoming("x" * 1025, None) is None
    assert tracecontext.incoming(None, "nonsense") is None


hexadecimal = st.text("0123456789abcdef", min_size=16, max_size=16).filter(lambda one: one.strip("0"))


@given(st.tuples(hexadecimal, hexadecimal), hexadecimal, st.booleans())
def test_nothing_is_lost_in_translation(trace: tuple[str, str], span: str, sampled: bool) -> None:
    place = Place(trace="".join(trace), span=span, sampled=sampled)
    assert tracecontext.of_amazon(tracecontext.amazon(place)) == place
    assert tracecontext.of_w3c(tracecontext.w3c(place)) == place


WRITTEN = [f"Root=1-{TRACE[:8]}-{TRACE[8:]};Parent={SPAN};Sampled=1", f"00-{TRACE}-{SPAN}-01"]


@given(
    st.sampled_from(WRITTEN), st.integers(0, 80), st.integers(0, 2), st.text("0123456789abcdefgF-=;. \n٣", max_size=3)
)
def test_what_is_read_from_whatever_comes_can_be_written(header: str, at: int, cut: int, put: str) -> None:
    """A place is whole, or none was found: nothing is raised, and nothing that is no identifier is taken for one."""
    spoiled = header[:at] + put + header[at + cut :]
    for read, write in ((tracecontext.of_amazon, tracecontext.amazon), (tracecontext.of_w3c, tracecontext.w3c)):
        if (place := read(spoiled)) is not None:
            assert re.fullmatch("[0-9a-f]{32}", place.trace)
            assert place.span is None or re.fullmatch("[0-9a-f]{16}", place.span)
            assert read(write(place)) == place
    found = [read(spoiled) for read in (tracecontext.of_amazon, tracecontext.of_w3c)]
    assert spoiled != header or found[WRITTEN.index(header)] == Place(trace=TRACE, span=SPAN, sampled=True)
