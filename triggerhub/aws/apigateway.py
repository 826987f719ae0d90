"""Shape an HTTP request as API Gateway's HTTP API hands it to Lambda, and an answer as it takes it back.

Payload format 2.0, after "Create AWS Lambda proxy integrations for HTTP APIs" of the API Gateway
developer guide and "Invoking function URLs" of Lambda's. Pure; time and id are arguments. The record
is spliced: the body is escaped once and never parsed.
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from json.encoder import encode_basestring
from typing import assert_never
from urllib.parse import parse_qsl

from triggerhub.aws.runtimeapi import HEAD, PRELUDE_ENDS
from triggerhub.model import Crashed, Interrupted, Json, Millis, Outcome, Raised, Returned, TimedOut
from triggerhub.policy import stepwise
from triggerhub.policy.stepwise import Span, Steps

FIELDS = 100
ACCOUNT = "000000000000"
DEFAULT_ROUTE = "$default"
JSON_TYPE = ("content-type", "application/json")
RETRY = ("retry-after", "1")
TEXT_TYPE = ("content-type", "text/plain;charset=UTF-8")
BYTES = "application/octet-stream"
"""The type of what is streamed without a head."""
_TEXT = re.compile(r"text/|application/(?:json|xml|javascript|[\w.+-]+\+(?:json|xml))\b", re.IGNORECASE)
_ASKED = frozenset({"statusCode", "headers", "body", "isBase64Encoded", "cookies"})
"""What a response is made of."""
_TURN = 1000
"""Headers that are looked at in one step."""
_WRONG: Json = ["…"]
"""Stands for a list or an object where no answer has one, so that nobody has to make it."""
_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_VALUE = re.compile(r"[\t\x20-\x7e\x80-\xff]*")
_PORTS = {"http": "80", "https": "443"}
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")


class Malformed(ValueError):
    """What the function answered is no HTTP response."""


def request(
    *,
    api: str,
    route: str,
    request_id: str,
    time: Millis,
    method: str,
    raw_path: str,
    path: str,
    query: str,
    headers: Sequence[tuple[str, str]],
    body: bytes,
    client: str,
    scheme: str,
    host: str,
    version: str = "1.1",
    params: Mapping[str, str] | None = None,
    account: str = ACCOUNT,
    authorizer: Json | None = None,
) -> bytes:
    """Return the record of a request as JSON.

    *api* is the trigger's name, *route* the path as it was configured (DEFAULT_ROUTE: one for all); header
    names are lower case. The body is a string where its type is text, JSON or XML and it is valid UTF-8 (a
    body without a type counts as text), else base64, forms included, as in AWS. Absent, not null: ``body``,
    ``cookies``, ``pathParameters`` and ``queryStringParameters`` where there are none, and ``authorizer`` where
    nobody was asked for. ``x-forwarded-`` ``for``, ``port`` and ``proto`` are always there, as in AWS, and say what
    *client*, *host* and *scheme* do, whoever else wrote them.
    """
    merged, cookies = _merge(headers)
    text = encode_basestring
    domain, _, port = host.rpartition(":")
    if not port.isdigit():
        domain, port = host, _PORTS[scheme]
    merged |= {"x-forwarded-for": client, "x-forwarded-port": port, "x-forwarded-proto": scheme}
    route_key = text(route if route == DEFAULT_ROUTE else f"{method} {route}")
    path_text = text(path)
    optional = ""
    authorized = "" if authorizer is None else f'"authorizer":{_dump(authorizer)},'
    if cookies:
        optional += f'"cookies":{_dump(cookies)},'
    if query and (parameters := _parameters(query)):
        optional += f'"queryStringParameters":{_dump(parameters)},'
    if params:
        optional += f'"pathParameters":{_dump(params)},'
    return (
        f'{{"version":"2.0","routeKey":{route_key},"rawPath":{text(raw_path)},"rawQueryString":{text(query)},{optional}'
        f'"headers":{{{",".join([f"{text(name)}:{text(value)}" for name, value in merged.items()])}}},'
        f'"requestContext":{{"accountId":{text(account)},"apiId":{text(api)},{authorized}"domainName":{text(domain)},'
        f'"domainPrefix":{text(domain.partition(".")[0])},"http":{{"method":{text(method)},"path":{path_text},'
        f'"protocol":"HTTP/{version}","sourceIp":{text(client)},"userAgent":{text(merged.get("user-agent", ""))}}},'
        f'"requestId":{text(request_id)},"routeKey":{route_key},"stage":"$default",'
        f'"time":"{_clf(time // 1000)}","timeEpoch":{time}}},'
        f"{_body(body, merged.get('content-type', ''))}}}"
    ).encode("utf-8", "replace")


def request_id(entropy: bytes) -> str:
    """Return an id as API Gateway gives to requests: 11 random bytes in base64."""
    return base64.b64encode(entropy).decode()


def _merge(headers: Sequence[tuple[str, str]]) -> tuple[dict[str, str], list[str]]:
    """Join repeated headers by commas; cookies go into a list of their own."""
    merged: dict[str, str] = {}
    cookies: list[str] = []
    for name, value in headers:
        if name == "cookie":
            cookies += [cookie for part in value.split(";") if (cookie := part.strip())]
        elif name in merged:
            merged[name] += f",{value}"
        else:
            merged[name] = value
    return merged, cookies


def _parameters(query: str) -> dict[str, str]:
    parameters: dict[str, str] = {}
    for name, value in parse_qsl(query, keep_blank_values=True):
        parameters[name] = f"{parameters[name]},{value}" if name in parameters else value
    return parameters


def _body(body: bytes, content_type: str) -> str:
    if not body:
        return '"isBase64Encoded":false'
    if not content_type or _TEXT.match(content_type):
        try:
            return f'"body":{encode_basestring(body.decode())},"isBase64Encoded":false'
        except UnicodeDecodeError:
            pass
    return f'"body":"{base64.b64encode(body).decode()}","isBase64Encoded":true'


@lru_cache(maxsize=8)
def _clf(second: int) -> str:
    moment = datetime.fromtimestamp(second, UTC)
    return f"{moment:%d}/{_MONTHS[moment.month - 1]}/{moment:%Y:%H:%M:%S} +0000"


_dump = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode
_parse = json.JSONDecoder().decode
_scan = json.JSONDecoder().raw_decode


@dataclass(frozen=True, slots=True)
class Parts:
    """An HTTP response as a function answered it."""

    status: int
    headers: tuple[tuple[str, str], ...]
    body: bytes


def response(payload: bytes, default: tuple[str, str] = TEXT_TYPE) -> Parts:
    """Return the HTTP response that a function's answer stands for; Malformed if it is none.

    *default* is its type where it says none: API Gateway's, or ``JSON_TYPE``, which is that of function URLs.
    An object with ``statusCode`` is taken apart; of a string its text is the body, of any other value its
    JSON as it came, with status 200 and type JSON.
    """
    try:
        answer = _load(payload)
    except (ValueError, RecursionError) as error:
        raise Malformed("expected JSON") from error
    return _parts(answer, payload, default)


def response_in_steps(payload: bytes, default: tuple[str, str] = TEXT_TYPE) -> Steps[Parts]:
    """Return what :func:`response` does, of an answer that would take it long, in steps.

    Malformed, too, where values are deeper within one another than ``stepwise.DEPTH``.
    """
    try:
        answer = yield from _read(payload)
    except (ValueError, RecursionError) as error:
        raise Malformed("expected JSON") from error
    return _parts(answer, payload, default)


def _parts(answer: Json, payload: bytes, default: tuple[str, str]) -> Parts:
    if isinstance(answer, str):
        return Parts(200, (JSON_TYPE,), _encoded(answer))
    if not isinstance(answer, dict) or "statusCode" not in answer:
        return Parts(200, (JSON_TYPE,), payload)
    headers = _headers(answer.get("headers"))
    body = _decoded(answer.get("body"), answer.get("isBase64Encoded"))
    if not any(name.lower() == "content-type" for name, _ in headers):
        headers.append(default)
    headers += [("set-cookie", cookie) for cookie in _cookies(answer.get("cookies"))]
    if len(headers) > FIELDS or sum(len(name) + len(value) for name, value in headers) > HEAD:
        raise Malformed(f"expected at most {FIELDS} headers of {HEAD} bytes together")
    return Parts(_status(answer["statusCode"]), tuple(headers), body)


def _load(payload: bytes) -> Json:
    try:
        value: Json = _parse(payload.decode())
    except ValueError:  # with a mark in front, in another encoding, or no JSON
        value = json.loads(payload)
    return value


def _read(payload: bytes) -> Steps[Json]:
    """Read an answer in steps: of an object what a response is made of, of anything else only what shows what it is."""
    # What begins with a mark, or is in another encoding, is no JSON as UTF-8: nothing has to be read twice to know.
    text = payload.decode(json.detect_encoding(payload), "surrogatepass")
    at = stepwise.skipped(text, 0)
    spans: dict[str, Span] = {}
    if text[at : at + 1] == "{":
        spans, ends = yield from stepwise.members(text, at, _ASKED, within="headers")
    else:
        ends = yield from stepwise.value(text, at)
    if stepwise.skipped(text, ends) != len(text):
        raise ValueError(f"expected nothing more at character {ends}")
    if text[at] != "{":
        return _made(text, Span(at, ends))
    found: dict[str, Json] = {}
    for name, span in spans.items():
        if span.members is not None:
            found[name] = yield from _named(text, span.members)
        elif name == "cookies" and text[span.begins] == "[":
            found[name] = _listed(text, span)
        else:
            found[name] = _made(text, span)
    return found


def _named(text: str, headers: Mapping[str, Span]) -> Steps[Json]:
    """Return headers as an object without those that are null: as many of the others as show that they are too many."""
    found: dict[str, Json] = {}
    for number, (name, span) in enumerate(headers.items(), 1):
        if number % _TURN == 0:
            yield
        content = _made(text, span)
        if content is not None:
            found[name] = content
        if len(found) > FIELDS:
            break
    return found


def _listed(text: str, cookies: Span) -> list[Json]:
    """Return cookies up to the first that is wrong: as many as show that they are too many."""
    found: list[Json] = []
    at = stepwise.skipped(text, cookies.begins + 1)
    while text[at] != "]" and len(found) <= FIELDS:
        if text[at] in "[{":
            return [_WRONG]
        one, at = _scan(text, at)
        found.append(one)
        at = stepwise.skipped(text, at)
        if text[at] == ",":
            at = stepwise.skipped(text, at + 1)
    return found


def _made(text: str, span: Span) -> Json:
    """Make what is no list and no object."""
    if text[span.begins] in "[{":
        return _WRONG
    made: Json = _parse(text[span.begins : span.ends])
    return made


def streamed(begun: bytes) -> tuple[Parts, bytes]:
    """Return the head of a streamed HTTP response, and what of its body came with it; Malformed if it has none."""
    prelude, ends, rest = begun.partition(PRELUDE_ENDS)
    if not ends or len(prelude) > HEAD:
        raise Malformed(f"expected a head of at most {HEAD} bytes")
    try:
        told = json.loads(prelude)
    except (ValueError, RecursionError) as error:
        raise Malformed("expected a head of JSON") from error
    if not isinstance(told, dict):
        raise Malformed("expected a head that is an object")
    kept = {name: told[name] for name in ("statusCode", "headers", "cookies") if name in told}
    parts = response(json.dumps({"statusCode": 200, **kept}).encode(), JSON_TYPE)
    return Parts(parts.status, parts.headers, b""), rest


def answer(outcome: Outcome) -> Parts:
    """Return the HTTP response that a call comes to; Malformed if the function answered none.

    What went wrong inside is not told: a failed function is 502, one that timed out 504. 429 is for no free
    worker, 503 for a hub that is stopping; both may be tried again.
    """
    match outcome:
        case Returned():
            return response(outcome.payload)
        case Crashed(throttled=True):
            return _failure(429, "Too Many Requests", RETRY)
        case Raised() | Crashed():
            return _failure(502, "Internal Server Error")
        case TimedOut():
            return _failure(504, "Endpoint request timed out")
        case Interrupted():
            return _failure(503, "Service Unavailable", RETRY)
        case _:
            assert_never(outcome)


def malformed() -> Parts:
    """Return what the caller sees of a function whose answer is no HTTP response."""
    return _failure(502, "Internal Server Error")


def _failure(status: int, text: str, *headers: tuple[str, str]) -> Parts:
    return Parts(status, (JSON_TYPE, *headers), b'{"message":"%b"}' % text.encode())


def _status(value: Json) -> int:
    if isinstance(value, str) and re.fullmatch(r"[0-9]{3}", value):
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int) or not 200 <= value <= 599:
        raise Malformed(f"expected statusCode from 200 to 599, got {_show(value)}")
    return value


def _headers(value: Json) -> list[tuple[str, str]]:
    if value is None:
        return []
    if not isinstance(value, dict):
        raise Malformed(f"expected headers as an object, got {_show(value)}")
    headers = []
    for name, content in value.items():
        if content is None:
            continue
        if isinstance(content, (bool, int, float)):
            content = _dump(content)
        if not isinstance(content, str) or not _NAME.fullmatch(name) or not _VALUE.fullmatch(content):
            raise Malformed(f"expected a header on one line, got {_show(name)}: {_show(content)}")
        headers.append((name, content))
    return headers


def _cookies(value: Json) -> list[str]:
    if value is None:
        return []
    if not isinstance(value, list) or not all(isinstance(one, str) and _VALUE.fullmatch(one) for one in value):
        raise Malformed(f"expected cookies as a list of strings on one line, got {_show(value)}")
    return value


def _decoded(body: Json, encoded: Json) -> bytes:
    if body is None:
        return b""
    if not isinstance(body, str):
        raise Malformed(f"expected body as a string, got {_show(body)}")
    if encoded is True:
        try:
            return base64.b64decode(body, validate=True)
        except ValueError as error:
            raise Malformed("isBase64Encoded is true, but the body is not base64") from error
    return _encoded(body)


def _encoded(text: str) -> bytes:
    # A lone surrogate is valid JSON and no valid UTF-8; it is shown as the replacement character.
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace").encode()


def _show(value: Json) -> str:
    text = _dump(value)
    return text if len(text) <= 60 else f"{text[:60]}…"
