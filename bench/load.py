"""Load a server from wrk, and serve the bare ingress that everything is compared with."""

from __future__ import annotations

import http.client
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).parents[1]
if str(ROOT) not in sys.path:
    sys.path.insert(0, str(ROOT))

from tests.e2e.daemon import until
from tests.e2e.ports import free_port

LUA = """
wrk.method = "POST"
wrk.headers["Content-Type"] = "application/json"
wrk.body = '{"pad": "' .. string.rep("x", 1010) .. '"}'
"""
BARE = """
import anyio, sys
from triggerhub.source import Response, Route
from triggerhub.web.ingress import Ingress

async def main(port):
    async def answer(request):
        return Response(status=200, body=b'{"ok":true}', headers=(("content-type", "application/json"),))
    ingress = Ingress()
    async with ingress.serve(Route(path="/", methods=("POST",), body_limit=1 << 20, endpoint=answer)):
        async with ingress.listen("127.0.0.1", port):
            await anyio.sleep_forever()

anyio.run(main, int(sys.argv[1]), backend_options={"use_uvloop": True})
"""


def wrk(url: str, connections: int, seconds: float, script: Path) -> float:
    """Return requests a second that were answered with success. AssertionError where some were not."""
    done = subprocess.run(
        ["wrk", "-t1", f"-c{connections}", f"-d{seconds}s", "-s", str(script), url],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    bad = re.search(r"Non-2xx or 3xx responses: (\d+)", done)
    assert bad is None, f"{url}: {bad}"
    return float(re.search(r"Requests/sec:\s+([\d.]+)", done)[1])  # type: ignore[index]


def answers(port: int) -> bool:
    """Whether a server answers a POST with 200."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        connection.request("POST", "/", b"{}", {"Content-Type": "application/json"})
        return connection.getresponse().status == 200
    except OSError:
        return False
    finally:
        connection.close()


@contextmanager
def bare() -> Iterator[str]:
    """Serve the hub's ingress without a worker and without a store; yields its URL."""
    port = free_port()
    process = subprocess.Popen([sys.executable, "-c", BARE, str(port)], cwd=ROOT)
    try:
        until(lambda: answers(port), "the bare ingress answers")
        yield f"http://127.0.0.1:{port}/"
    finally:
        process.kill()
        process.wait()
