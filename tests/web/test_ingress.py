"""The ingress over real sockets: what HTTP/1.1 asks of a server, and what the hub asks of its ingress."""

from __future__ import annotations

import asyncio
import contextlib
import json
from dataclasses import replace

import pytest
from structlog.testing import capture_logs

from tests.web.rig import GUARD, Echo, connected, on_each_loop, post, route, serving
from triggerhub.errors import BacklogFull, BadInput, ConfigError, Conflict, NotFound, StoreBroken, StoreFull
from triggerhub.policy.cors import Cors
from triggerhub.source import Request, Response, Route
from triggerhub.web.ingress import Ingress
from triggerhub.web.limit import Limits


@on_each_loop
async def test_a_request_reaches_its_endpoint_whole():
    echo = Echo()
    async with serving(route(echo)) as port, connected(port) as client:
        await client.send(post("/a?q=1&q=%20", b"hello", b"X-One: 1", b"X-ONE:  2 "))
        answer = await client.answer()
    assert (answer.status, answer.body) == (200, b"/a hello")
    [request] = echo.seen
    assert (request.method, request.path, request.query, request.body) == ("POST", "/a", "q=1&q=%20", b"hello")
    assert [value for name, value in request.headers if name == "x-one"] == ["1", "2"]
    assert (request.client, request.scheme, request.host) == ("127.0.0.1", "http", "hub")


@on_each_loop
async def test_a_session_of_the_console_is_not_passed_on():
    echo = Echo()
    sent = [b"Cookie: a=1; triggerhub_session=s3cret;b=2", b"cookie: triggerhub_session=s3cret", b"Cookie: c=3;d=4"]
    async with serving(route(echo)) as port, connected(port) as client:
        await client.send(post("/a", b"", *sent))
        await client.answer()
    assert [value for name, value in echo.seen[0].headers if name == "cookie"] == ["a=1; b=2", "c=3;d=4"]


@on_each_loop
async def test_a_connection_serves_one_request_after_another():
    async with serving(route(Echo())) as port, connected(port) as client:
        for number in range(3):
            await client.send(post(body=b"%d" % number))
            assert (await client.answer()).body == b"/a %d" % number


@on_each_loop
async def test_pipelined_requests_are_answered_in_order_and_one_at_a_time():
    running, most, order = 0, 0, []

    async def slow(request: Request) -> Response:
        nonlocal running, most
        running, most = running + 1, max(most, running + 1)
        await asyncio.sleep(0.02 if request.body == b"0" else 0)
        running -= 1
        order.append(request.body)
        return Response(status=200, body=request.body)

    async with serving(route(slow)) as port, connected(port) as client:
        await client.send(b"".join(post(body=b"%d" % number) for number in range(200)))
        answers = [(await client.answer()).body for _ in range(200)]
    assert answers == order == [b"%d" % number for number in range(200)]
    assert most == 1


@on_each_loop
async def test_a_flood_of_pipelined_requests_is_left_in_the_socket():
    started, release = asyncio.Event(), asyncio.Event()

    async def held(request: Request) -> Response:
        started.set()
        await release.wait()
        return Response(status=204)

    async with serving(route(held)) as port, connected(port) as client:
        flood = post(body=b"y" * 900) * 20_000
        sending = asyncio.create_task(client.send(flood))
        await started.wait()
        # The kernel's buffers fill up and the sender stalls: nobody reads.
        await asyncio.sleep(0.3)
        assert not sending.done()
        release.set()
        for _ in range(20_000):
            assert (await client.answer()).status == 204
        await sending


@on_each_loop
async def test_what_comes_while_a_request_is_answered_waits_unread():
    started, release = asyncio.Event(), asyncio.Event()

    async def held(request: Request) -> Response:
        started.set()
        await release.wait()
        return Response(status=200, body=request.body)

    async with serving(route(held, limit=1000)) as port, connected(port) as client:
        await client.send(post(body=b"first"))
        await started.wait()
        sending = asyncio.create_task(client.send(post(body=b"y" * 900) * 20_000))
        await asyncio.sleep(0.3)
        assert not sending.done()
        release.set()
        assert (await client.answer()).body == b"first"
        for _ in range(20_000):
            assert (await client.answer()).body == b"y" * 900
        await sending


@on_each_loop
async def test_a_request_may_come_byte_by_byte():
    async with serving(route(Echo())) as port, connected(port) as client:
        for byte in post(body=b"slow"):
            await client.send(bytes((byte,)))
        assert (await client.answer()).body == b"/a slow"


@on_each_loop
async def test_a_chunked_body_is_put_together_and_trailers_change_nothing():
    echo = Echo()
    async with serving(route(echo)) as port, connected(port) as client:
        await client.send(
            b"POST /a HTTP/1.1\r\nHost: hub\r\nTransfer-Encoding: chunked\r\n\r\n"
            b"3\r\nabc\r\n2;x=y\r\nde\r\n0\r\nX-Trailer: 1\r\n\r\n"
        )
        assert (await client.answer()).body == b"/a abcde"
        await client.send(post())
        assert (await client.answer()).body == b"/a x"
    assert "x-trailer" not in dict(echo.seen[0].headers)


@on_each_loop
async def test_a_large_body_arrives_unchanged():
    body = bytes(range(256)) * 20_000
    echo = Echo()
    async with serving(route(echo, limit=len(body))) as port, connected(port) as client:
        await client.send(post(body=body))
        assert (await client.answer()).body == b"/a " + body
    assert echo.seen[0].body == body


@on_each_loop
async def test_continue_is_said_when_the_body_is_wanted():
    async with serving(route(Echo())) as port, connected(port) as client:
        await client.send(b"POST /a HTTP/1.1\r\nHost: hub\r\nContent-Length: 2\r\nExpect: 100-continue\r\n\r\n")
        assert (await client.answer()).status == 100
        await client.send(b"ok")
        assert (await client.answer()).body == b"/a ok"


@on_each_loop
async def test_continue_is_not_said_to_a_body_over_the_limit():
    async with serving(route(Echo(), limit=10)) as port, connected(port) as client:
        await client.send(b"POST /a HTTP/1.1\r\nHost: hub\r\nContent-Length: 11\r\nExpect: 100-continue\r\n\r\n")
        assert (await client.answer()).status == 413
        assert await client.ended()


@on_each_loop
async def test_continue_waits_for_the_answers_before_it():
    release = asyncio.Event()

    async def held(request: Request) -> Response:
        await release.wait()
        return Response(status=200, body=request.body)

    async with serving(route(held)) as port, connected(port) as client:
        ask = b"POST /a HTTP/1.1\r\nHost: hub\r\nContent-Length: 2\r\nExpect: 100-continue\r\n\r\n"
        await client.send(post() + ask)
        release.set()
        assert (await client.answer()).status == 200
        assert (await client.answer()).status == 100
        await client.send(b"ok")
        assert (await client.answer()).body == b"ok"


@pytest.mark.parametrize(
    ("methods", "status"),
    [pytest.param(("GET",), 200, id="GET is served"), pytest.param(("POST",), 405, id="GET is not served")],
)
@on_each_loop
async def test_head_is_get_without_the_body(methods, status):
    async with serving(route(Echo(), methods=methods)) as port, connected(port) as client:
        await client.send(b"HEAD /a HTTP/1.1\r\nHost: hub\r\n\r\n")
        answer = await client.answer(head=True)
        assert answer.status == status
        assert answer.header("content-length") != "0"
        await client.send(b"HEAD /none HTTP/1.1\r\nHost: hub\r\n\r\n")
        assert (await client.answer(head=True)).status == 404


@on_each_loop
async def test_no_body_and_no_length_where_http_has_none():
    async def nothing(request: Request) -> Response:
        return Response(status=204, body=b"lost")

    async with serving(route(nothing)) as port, connected(port) as client:
        await client.send(post() + post())
        for _ in range(2):
            answer = await client.answer()
            assert (answer.status, answer.header("content-length")) == (204, None)


@on_each_loop
async def test_an_unknown_path_is_404_and_the_connection_goes_on():
    async with serving(route(Echo())) as port, connected(port) as client:
        await client.send(b"GET /nowhere HTTP/1.1\r\nHost: hub\r\n\r\n")
        answer = await client.answer()
        assert (answer.status, json.loads(answer.body)) == (404, {"message": "Not Found"})
        await client.send(post())
        assert (await client.answer()).status == 200


@on_each_loop
async def test_a_wrong_method_is_told_the_right_ones():
    async with serving(route(Echo(), methods=("POST", "PUT"))) as port, connected(port) as client:
        await client.send(b"DELETE /a HTTP/1.1\r\nHost: hub\r\n\r\n")
        answer = await client.answer()
    assert (answer.status, answer.header("allow")) == (405, "POST, PUT")


@on_each_loop
async def test_every_answer_is_dated():
    async with serving(route(Echo())) as port, connected(port) as client:
        await client.send(post())
        assert (await client.answer()).header("date").endswith(" GMT")


@pytest.mark.parametrize(
    ("version", "header", "open_after"),
    [
        pytest.param("1.1", "", True, id="1.1 stays"),
        pytest.param("1.1", "Connection: close\r\n", False, id="1.1 asks to close"),
        pytest.param("1.0", "", False, id="1.0 closes"),
        pytest.param("1.0", "Connection: keep-alive\r\n", True, id="1.0 asks to stay"),
    ],
)
@on_each_loop
async def test_the_connection_lives_as_the_client_asks(version, header, open_after):
    async with serving(route(Echo())) as port, connected(port) as client:
        ask = f"GET /a HTTP/{version}\r\nHost: hub\r\n{header}\r\n".encode()
        await client.send(ask)
        answer = await client.answer()
        expected = {("1.1", True): None, ("1.0", True): "keep-alive"}.get((version, open_after), "close")
        assert answer.header("connection") == expected
        if open_after:
            await client.send(ask)
            assert (await client.answer()).status == 200
        else:
            assert await client.ended()


@on_each_loop
async def test_an_upgrade_is_answered_as_a_plain_request():
    async with serving(route(Echo())) as port, connected(port) as client:
        await client.send(b"GET /a HTTP/1.1\r\nHost: hub\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\nPRI * HTTP/2.0")
        assert (await client.answer()).status == 200
        assert await client.ended()


@pytest.mark.parametrize(
    "framed",
    [
        pytest.param(b"Content-Length: 4\r\n\r\nbody", id="length"),
        pytest.param(b"Transfer-Encoding: chunked\r\n\r\n4\r\nbody\r\n0\r\n\r\n", id="chunked"),
    ],
)
@pytest.mark.parametrize("step", [1, 7, 10_000])
@on_each_loop
async def test_a_request_that_offers_an_upgrade_keeps_its_body(framed, step):
    # As Java's HttpClient sends every request of plain http.
    echo = Echo()
    offer = b"Connection: Upgrade, HTTP2-Settings\r\nHTTP2-Settings: AAEAAEAA\r\nUpgrade: h2c\r\n"
    data = b"POST /a?b=c HTTP/1.1\r\nHost: hub\r\n" + offer + b"X: \xe9\r\n" + framed
    async with serving(route(echo)) as port, connected(port) as client:
        for start in range(0, len(data), step):
            await client.send(data[start : start + step])
        assert (await client.answer()).status == 200
        assert await client.ended()
    [seen] = echo.seen
    assert (seen.method, seen.path, seen.query, seen.body) == ("POST", "/a", "b=c", b"body")
    assert seen.header("upgrade") == "h2c"
    assert seen.header("x") == "\xe9"


@on_each_loop
async def test_a_request_that_offers_an_upgrade_is_of_its_own_version():
    echo = Echo()
    async with serving(route(echo)) as port, connected(port) as client:
        await client.send(b"POST /a HTTP/1.0\r\nConnection: Upgrade\r\nUpgrade: h2c\r\nContent-Length: 4\r\n\r\nbody")
        assert (await client.answer()).status == 200
        assert await client.ended()
    assert (echo.seen[0].http_version, echo.seen[0].body) == ("1.0", b"body")


@on_each_loop
async def test_a_request_that_offers_an_upgrade_is_held_to_the_limits():
    offer = b"POST /a HTTP/1.1\r\nHost: hub\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n"
    for size, status in ((9, 413), (8, 200)):
        async with serving(route(Echo(), limit=8)) as port, connected(port) as client:
            await client.send(offer + b"Content-Length: %d\r\n\r\n" % size + b"x" * size + b"GET /a HTTP/1.1\r\n")
            assert (await client.answer()).status == status
            assert await client.ended()


@on_each_loop
async def test_a_length_may_begin_with_any_number_of_zeros():
    echo = Echo()
    async with serving(route(echo)) as port, connected(port) as client:
        await client.send(b"POST /a HTTP/1.1\r\nHost: hub\r\nContent-Length: " + b"0" * 5000 + b"3\r\n\r\nabc")
        assert (await client.answer()).status == 200
    assert echo.seen[0].body == b"abc"


@on_each_loop
async def test_a_client_that_stops_sending_still_gets_its_answer():
    async def slow(request: Request) -> Response:
        await asyncio.sleep(0.05)
        return Response(status=200, body=b"late")

    async with serving(route(slow)) as port, connected(port) as client:
        await client.send(post())
        client.writer.write_eof()
        assert (await client.answer()).body == b"late"
        assert await client.ended()


@pytest.mark.parametrize(("target", "path"), [("http://other:81/a?b", "/a"), ("http://other:81?b", "/")])
@on_each_loop
async def test_an_absolute_target_names_the_host(target, path):
    echo = Echo()
    async with serving(route(echo), route(echo, "/")) as port, connected(port) as client:
        await client.send(f"GET {target} HTTP/1.1\r\nHost: hub\r\n\r\n".encode())
        assert (await client.answer()).status == 200
    assert (echo.seen[0].host, echo.seen[0].path, echo.seen[0].query) == ("other:81", path, "b")


@on_each_loop
async def test_what_the_ingress_itself_answers_is_for_pages_of_other_origins_too():
    async def full(request: Request) -> Response:
        raise BacklogFull("a", 1)

    page, ask = b"Origin: https://site.example", b"OPTIONS /a HTTP/1.1\r\nHost: hub\r\n"
    one = route(full, methods=("POST", "OPTIONS"), limit=1)
    one = replace(one, cors=Cors(origins=("https://site.example",), methods=("POST",)))
    ingress = Ingress()
    async with ingress.listen("127.0.0.1", 0) as port, connected(port) as client:
        async with ingress.serve(one):
            await client.send(ask + page + b"\r\nAccess-Control-Request-Method: POST\r\n\r\n")
            answers = [await client.answer()]
            await client.send(post("/a", b"x", page))
            answers.append(await client.answer())
        for body in (b"x", b"xx"):
            async with ingress.serve(one) if body == b"xx" else contextlib.nullcontext(), connected(port) as other:
                await other.send(post("/a", body, page))
                answers.append(await other.answer())
    assert [answer.status for answer in answers] == [204, 429, 503, 413]
    assert {answer.header("access-control-allow-origin") for answer in answers} == {"https://site.example"}


@on_each_loop
async def test_a_full_disk_is_not_filled_further_by_the_log():
    async def full(request: Request) -> Response:
        raise StoreFull("full")

    with capture_logs() as logs:
        async with serving(route(full)) as port, connected(port) as client:
            await client.send(post() * 50)
            for _ in range(50):
                assert (await client.answer()).status == 507
    told = [one for one in logs if one["event"] == "a request could not be taken"]
    assert 1 <= len(told) < 10
    assert told[0]["count"] == 1
    assert (told[0]["log_level"], told[0]["error"]) == ("error", "full")


@pytest.mark.parametrize(
    ("error", "status", "retry"),
    [
        pytest.param(BacklogFull("t", 5, retry_after=7), 429, "7", id="backlog"),
        pytest.param(StoreFull("full"), 507, None, id="disk full"),
        pytest.param(StoreBroken("fsync failed"), 503, "30", id="store broken"),
        pytest.param(BadInput("the key is too long"), 400, None, id="bad input"),
        pytest.param(NotFound("no such thing"), 404, None, id="not found"),
        pytest.param(Conflict("not now"), 409, None, id="conflict"),
        pytest.param(ConfigError("inner secret"), 500, None, id="another error of ours"),
        pytest.param(RuntimeError("inner secret"), 500, None, id="a bug"),
    ],
)
@on_each_loop
async def test_an_error_has_its_status_and_tells_nothing_of_the_inside(error, status, retry):
    async def failing(request: Request) -> Response:
        raise error

    async with serving(route(failing)) as port, connected(port) as client:
        await client.send(post() + post())
        for _ in range(2):
            answer = await client.answer()
            assert (answer.status, answer.header("retry-after")) == (status, retry)
            assert b"secret" not in answer.body
            assert json.loads(answer.body)["message"]


@pytest.mark.parametrize(
    "headers",
    [(("x-a", "b\r\nset-cookie: evil"),), (("x a", "b"),), (("x-a:", "b"),), [("x-a", "b\x00c")], (("x-a", "☃"),)],
)
@on_each_loop
async def test_a_header_that_breaks_its_line_is_never_sent(headers):
    async def evil(request: Request) -> Response:
        return Response(status=200, headers=headers)

    async with serving(route(evil)) as port, connected(port) as client:
        await client.send(post())
        answer = await client.answer()
    assert answer.status == 500
    assert answer.header("set-cookie") is None


@pytest.mark.parametrize("status", [0, 100, 199, 1000])
@on_each_loop
async def test_a_status_that_is_no_answer_is_500(status):
    async def odd(request: Request) -> Response:
        return Response(status=status)

    async with serving(route(odd)) as port, connected(port) as client:
        await client.send(post())
        assert (await client.answer()).status == 500


@on_each_loop
async def test_the_framing_is_the_ingress_own_business():
    async def meddling(request: Request) -> Response:
        own = (("Content-Length", "99"), ("Transfer-Encoding", "chunked"), ("Connection", "close"), ("X-Kept", "1"))
        return Response(status=200, body=b"ok", headers=own)

    async with serving(route(meddling)) as port, connected(port) as client:
        await client.send(post())
        answer = await client.answer()
    names = [name for name, _ in answer.headers]
    assert (answer.body, answer.header("x-kept"), names.count("content-length")) == (b"ok", "1", 1)
    assert "connection" not in names


@on_each_loop
async def test_the_same_path_twice_is_an_error_that_names_both():
    ingress = Ingress()
    first = route(Echo(), "/hooks/{id}", ("POST", "GET"))
    other = Route(path="/hooks/{name}", methods=("get",), body_limit=1, endpoint=Echo(), owner="triggers.other")
    async with ingress.serve(first):
        with pytest.raises(ConfigError, match=r"/hooks/\{name\} of triggers.other .*/hooks/\{id\} of triggers.test"):
            async with ingress.serve(route(Echo(), "/free"), other):
                pass
        async with ingress.serve(route(Echo(), "/free")):
            pass


@on_each_loop
async def test_no_path_is_wrong_before_all_routes_are_there():
    ingress = Ingress(awaiting=True)
    async with (
        ingress.serve(route(Echo(), methods=("GET",))),
        ingress.listen("127.0.0.1", 0) as port,
        connected(port) as client,
    ):
        for statuses in ((200, 503, 503), (200, 405, 404)):
            for asked, status in zip((b"GET /a", b"DELETE /a", b"GET /b"), statuses, strict=True):
                await client.send(asked + b" HTTP/1.1\r\nHost: hub\r\n\r\n")
                answer = await client.answer()
                assert (answer.status, answer.header("retry-after")) == (status, "1" if status == 503 else None)
            ingress.complete()


@on_each_loop
async def test_a_route_that_is_being_replaced_answers_503_for_a_moment():
    ingress = Ingress()
    async with ingress.listen("127.0.0.1", 0) as port, connected(port) as client:
        async with ingress.serve(route(Echo())):
            await client.send(post())
            assert (await client.answer()).status == 200
        await client.send(b"GET /a HTTP/1.1\r\nHost: hub\r\n\r\n")
        answer = await client.answer()
        assert (answer.status, answer.header("retry-after")) == (503, "1")
        await client.send(b"GET /never HTTP/1.1\r\nHost: hub\r\n\r\n")
        assert (await client.answer()).status == 404
        async with ingress.serve(route(Echo())):
            await client.send(post())
            assert (await client.answer()).status == 200


@on_each_loop
async def test_no_other_route_takes_the_place_of_one_that_is_being_replaced(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("triggerhub.web.ingress.VACANCY", 0.3)
    ingress = Ingress()
    async with (
        ingress.listen("127.0.0.1", 0) as port,
        ingress.serve(route(Echo(), "/{any}")),
        connected(port) as client,
    ):
        for path in ("/a", "/%61"):
            async with ingress.serve(route(Echo())):
                pass
            await client.send(f"GET {path} HTTP/1.1\r\nHost: hub\r\n\r\n".encode())
            assert (await client.answer()).status == 503
            await client.send(b"GET /b HTTP/1.1\r\nHost: hub\r\n\r\n")
            assert (await client.answer()).status == 200
        status = 503
        async with asyncio.timeout(GUARD):
            while status == 503:
                await client.send(b"GET /a HTTP/1.1\r\nHost: hub\r\n\r\n")
                status = (await client.answer()).status
                await asyncio.sleep(0.01)
        assert status == 200


@on_each_loop
async def test_leaving_lets_open_requests_finish_and_closes_the_idle():
    started, release = asyncio.Event(), asyncio.Event()

    async def held(request: Request) -> Response:
        started.set()
        await release.wait()
        return Response(status=200, body=b"finished")

    ingress, leave = Ingress(), asyncio.Event()

    async def serve(ports: asyncio.Queue[int]) -> None:
        async with ingress.serve(route(held)), ingress.listen("127.0.0.1", 0) as port:
            ports.put_nowait(port)
            await leave.wait()

    ports: asyncio.Queue[int] = asyncio.Queue()
    hub = asyncio.create_task(serve(ports))
    port = await ports.get()
    async with connected(port) as busy, connected(port) as idle:
        await busy.send(post())
        await started.wait()
        leave.set()
        assert await idle.ended()
        with pytest.raises(ConnectionRefusedError):
            await asyncio.open_connection("127.0.0.1", port)
        release.set()
        answer = await busy.answer()
        assert (answer.body, answer.header("connection")) == (b"finished", "close")
        assert await busy.ended()
    async with asyncio.timeout(GUARD):
        await hub


@on_each_loop
async def test_leaving_cuts_what_outlasts_the_grace():
    cut, started = asyncio.Event(), asyncio.Event()

    async def endless(request: Request) -> Response:
        started.set()
        try:
            await asyncio.Event().wait()
        finally:
            cut.set()
        raise AssertionError

    ingress = Ingress()
    async with asyncio.timeout(GUARD):
        async with ingress.serve(route(endless)), ingress.listen("127.0.0.1", 0, grace=0.05) as port:
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(post())
            await started.wait()
        assert cut.is_set()
        assert ingress.connections == 0
    writer.close()
    assert reader is not None


@on_each_loop
async def test_an_address_in_use_is_a_config_error():
    async with serving() as port:
        with pytest.raises(
            ConfigError, match=f"hub.listen: 127.0.0.1:{port} cannot be listened on: Address already in use"
        ):
            async with Ingress().listen("127.0.0.1", port):
                pass


@on_each_loop
async def test_half_a_header_does_not_keep_the_ingress_from_leaving():
    ingress = Ingress(Limits(linger=0.1))
    async with ingress.serve(route(Echo())), asyncio.timeout(8):
        async with ingress.listen("127.0.0.1", 0, grace=60) as port:
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(b"POST /a HTTP/1.1\r\nHost: h")
            while not ingress.connections:
                await asyncio.sleep(0.01)
            await asyncio.sleep(0.1)
        assert (await reader.read()).startswith(b"HTTP/1.1 408 ")
        writer.close()
