"""One trace in two spellings."""

from __future__ import annotations

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


@given(st.text(max_size=80))
def test_whatever_comes_nothing_is_raised(text: str) -> None:
    tracecontext.of_amazon(text)
    tracecontext.of_w3c(text)
