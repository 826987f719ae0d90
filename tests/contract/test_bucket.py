"""Code that lies in S3: how much of it comes at once, and what is answered where it does not come."""

from __future__ import annotations

import os
import re
import threading
import zipfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from tests.aws_double.moto import KEYS
from tests.contract.conftest import client
from tests.contract.package import RUNTIME, VERSION, answering, create
from tests.contract.test_functions import refused
from tests.e2e.daemon import Daemon, daemon

AT_ONCE = 2
MB = 1024 * 1024
LARGE = 250 * MB + 1
HELD = answering("held")


class S3(ThreadingHTTPServer):
    """A service that answers a key as its name says."""

    daemon_threads = True

    def __init__(self, large: Path) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.large = large
        self.crowd = threading.Barrier(AT_ONCE + 1)
        self.crowded = False


class Handler(BaseHTTPRequestHandler):
    server: S3

    def do_GET(self) -> None:
        match self.path.partition("?")[0]:
            case "/code/large.zip":
                self.answer(200, LARGE, b"")
            case "/code/cut.zip":
                self.answer(200, 1000, b"PK")
            case "/code/held.zip":
                try:
                    self.server.crowd.wait(1)
                    self.server.crowded = True
                except threading.BrokenBarrierError:
                    self.server.crowd.reset()
                self.answer(200, None, HELD)
            case "/code/many.zip":
                self.send_response(200)
                self.send_header("Content-Length", str(self.server.large.stat().st_size))
                self.end_headers()
                with self.server.large.open("rb") as file:
                    while piece := file.read(MB):
                        self.wfile.write(piece)
            case "/code/busy.zip":
                self.fault(503, "SlowDown")
            case "/code/late.zip":
                self.fault(400, "RequestTimeout")
            case "/code/secret.zip":
                self.fault(403, "AccessDenied")
            case _:
                self.fault(404, "NoSuchKey")

    def fault(self, status: int, code: str) -> None:
        text = f"<Error><Code>{code}</Code><Message>So it is.</Message></Error>"
        self.answer(status, None, text.encode())

    def answer(self, status: int, length: int | None, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(body) if length is None else length))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args: Any) -> None:
        pass


@pytest.fixture(scope="module")
def s3(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3]:
    large = tmp_path_factory.mktemp("s3") / "many.zip"
    with zipfile.ZipFile(large, "w") as archive:
        archive.writestr("app.py", VERSION.format(answer="many"))
        archive.writestr("noise", bytes(64 * MB))
    with S3(large) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture(scope="module")
def fetching(tmp_path_factory: pytest.TempPathFactory, s3: S3) -> Iterator[Daemon]:
    with daemon(tmp_path_factory.mktemp("bucket"), "", {}, start=False) as hub:
        hub.start(environ={**KEYS, "AWS_ENDPOINT_URL_S3": f"http://127.0.0.1:{s3.server_address[1]}"})
        create(client(hub), "web", answering(1))
        yield hub


FAULT = "Error occurred while GetObject. S3 Error Code: {}. S3 Error Message: "


@pytest.mark.parametrize(
    ("key", "status", "kind", "says"),
    [
        ("large.zip", 400, "InvalidParameterValueException", "Unzipped size must be smaller than 262144000 bytes"),
        ("none.zip", 400, "InvalidParameterValueException", FAULT.format("NoSuchKey") + "So it is."),
        ("secret.zip", 400, "InvalidParameterValueException", FAULT.format("AccessDenied") + "So it is."),
        ("busy.zip", 500, "ServiceException", FAULT.format("SlowDown") + "So it is."),
        ("late.zip", 500, "ServiceException", FAULT.format("RequestTimeout") + "So it is."),
        ("cut.zip", 500, "ServiceException", FAULT.format("[A-Za-z]+")),
    ],
)
def test_what_passes_by_itself_is_answered_as_what_clients_try_again(
    fetching: Daemon, key: str, status: int, kind: str, says: str
) -> None:
    told = refused(client(fetching).update_function_code, FunctionName="web", S3Bucket="code", S3Key=key)
    assert told[:2] == (status, kind), told
    assert re.match(says, told[2]), told
    assert left(fetching) == []


def test_an_endpoint_that_is_not_there_is_tried_again(tmp_path: Path) -> None:
    with daemon(tmp_path, "", {}, start=False) as hub:
        hub.start(environ={**KEYS, "AWS_ENDPOINT_URL_S3": "http://127.0.0.1:1"})
        given = {"Runtime": RUNTIME, "Handler": "app.handler", "Role": "arn:aws:iam::000000000000:role/any"}
        code = {"S3Bucket": "code", "S3Key": "one.zip"}
        told = refused(client(hub).create_function, FunctionName="web", Code=code, **given)
        assert told[:2] == (500, "ServiceException"), told


def test_few_archives_come_from_s3_at_once(fetching: Daemon, s3: S3) -> None:
    def fetch(_: int) -> str:
        kept: str = client(fetching).update_function_code(**given, S3Key="held.zip")["CodeSha256"]
        return kept

    given = {"FunctionName": "web", "S3Bucket": "code", "DryRun": True}
    with ThreadPoolExecutor(4) as pool:
        assert len(set(pool.map(fetch, range(4)))) == 1
    assert not s3.crowded
    assert left(fetching) == []


def test_an_archive_from_s3_takes_no_memory(fetching: Daemon) -> None:
    def fetch(_: int) -> None:
        client(fetching).update_function_code(FunctionName="web", S3Bucket="code", S3Key="many.zip", DryRun=True)

    fetch(0)  # with what is loaded for it once
    status(fetching).with_name("clear_refs").write_text("5")
    before = peak(fetching)
    with ThreadPoolExecutor(3) as pool:
        list(pool.map(fetch, range(3)))
    assert peak(fetching) - before < 48 * MB
    assert left(fetching) == []


def left(hub: Daemon) -> list[str]:
    """The drafts that lie in the folder of archives."""
    return [name for name in os.listdir(hub.project / "var" / "functions" / "archives") if name.startswith(".")]


def peak(hub: Daemon) -> int:
    """The most memory that the hub had, in bytes."""
    found = re.search(r"VmHWM:\s+(\d+) kB", status(hub).read_text())
    assert found
    return int(found[1]) * 1024


def status(hub: Daemon) -> Path:
    assert hub.process is not None
    return Path(f"/proc/{hub.process.pid}/status")
