"""Be a host with a world beyond it, and say what a function with ``network = true`` reaches of both.

Run as root, as ``python -m tests.runtimes.carried FOLDER``: makes two network namespaces of its own, and prints as
JSON what a handler got from each place. With ``--user`` the hub is an ordinary user's, with ``--kept`` the
launcher is held to a floor.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from tests.runtimes.attacks import ordinary
from tests.runtimes.conftest import Bench
from triggerhub.model import Returned
from triggerhub.policy.sandbox.levels import Ability
from triggerhub.runtimes.launch import Launcher
from triggerhub.runtimes.launcher import kernel
from triggerhub.runtimes.privilege import Keeper

PORT = 8080
WORLD, HOST, BRIDGE = "10.77.0.2", "10.77.0.1", "10.78.0.1"
WORLD6, HOST6 = "fd77::2", "fd77::1"
CLOUDS = {
    "metadata": "169.254.169.254", "routed metadata": "169.254.170.2", "other metadata": "169.254.42.42",
    "metadata of IPv6": "fd20:ce::254", "metadata on the link": "fe80::a9fe:a9fe%near",
}  # fmt: skip
"""What clouds have; the second is on a way of its own, as a host may be told by DHCP."""
ROUTED = "routed metadata"
V6 = Path("/proc/net/if_inet6").exists()
PLACES = {
    name: address
    for name, address in {
        "world": WORLD, "world of IPv6": WORLD6, "loopback": "127.0.0.1", "host": HOST, "bridge": BRIDGE,
        "host of IPv6": HOST6, **CLOUDS,
    }.items()
    if V6 or ":" not in address
}  # fmt: skip
REACHES = f"""
import socket
def reached(address):
    try:
        socket.create_connection((address, {PORT}), 3).close()
        return "reached"
    except OSError as error:
        return error.strerror or str(error)
"""
HANDLER = REACHES + "def handler(event, context): return {name: reached(one) for name, one in event.items()}\n"
BOOTSTRAP = f"""#!{sys.executable}
import json, os, urllib.request
{REACHES}
api = f"http://{{os.environ['AWS_LAMBDA_RUNTIME_API']}}/2018-06-01/runtime/invocation/"
while True:
    with urllib.request.urlopen(api + "next") as call:
        event = json.load(call)
    said = json.dumps({{name: reached(one) for name, one in event.items()}}).encode()
    urllib.request.urlopen(api + call.headers["Lambda-Runtime-Aws-Request-Id"] + "/response", said).close()
"""
SERVER = f"""
import socket
address = socket.getaddrinfo("{WORLD}", {PORT}, type=socket.SOCK_STREAM)[0]
with socket.socket(address[0]) as server:
    server.bind(address[4])
    server.listen()
    print(flush=True)
    while True:
        server.accept()[0].close()
"""


def run(*words: str) -> None:
    subprocess.run(words, check=True)


@contextmanager
def hosted() -> Iterator[None]:
    """Move this process into a network of its own, from which a server in another one is reached."""
    with ExitStack() as ends:
        world = subprocess.Popen(["unshare", "--net", "sh", "-c", "echo; exec sleep 600"], stdout=subprocess.PIPE)
        ends.callback(world.wait)
        ends.callback(world.kill)
        assert world.stdout is not None
        world.stdout.readline()
        there = ["nsenter", f"--target={world.pid}", "--net"]
        kernel.unshare(kernel.CLONE_NEWNET)
        run("ip", "link", "set", "lo", "up")
        run("ip", "link", "add", "near", "type", "veth", "peer", "name", "far", "netns", str(world.pid))
        run("ip", "address", "add", f"{HOST}/24", "dev", "near")
        run("ip", "link", "set", "near", "up")
        run("ip", "link", "add", "bridge", "type", "veth", "peer", "name", "other")
        run("ip", "address", "add", f"{BRIDGE}/24", "dev", "bridge")
        run("ip", "link", "set", "bridge", "up")
        run(*there, "ip", "address", "add", f"{WORLD}/24", "dev", "far")
        if V6:
            run("ip", "-6", "address", "add", f"{HOST6}/64", "dev", "near", "nodad")
            run(*there, "ip", "-6", "address", "add", f"{WORLD6}/64", "dev", "far", "nodad")
        # What a cloud has there answers, too.
        for address in CLOUDS.values():
            if "." in address:
                run(*there, "ip", "address", "add", f"{address}/32", "dev", "far")
            elif V6:
                run(*there, "ip", "-6", "address", "add", f"{address.partition('%')[0]}/128", "dev", "far", "nodad")
        run(*there, "ip", "link", "set", "far", "up")
        run("ip", "route", "add", "default", "via", WORLD)
        run("ip", "route", "add", CLOUDS[ROUTED], "via", WORLD)
        if V6:
            run("ip", "-6", "route", "add", "default", "via", WORLD6)
        for address in (PLACES[name] for name in PLACES.keys() & {"world", "world of IPv6", *CLOUDS}):
            code = SERVER.replace(WORLD, address.replace("%near", "%far"))
            server = subprocess.Popen([*there, sys.executable, "-c", code], stdout=subprocess.PIPE)
            ends.callback(server.wait)
            ends.callback(server.kill)
            assert server.stdout is not None
            server.stdout.readline()
        yield


async def said(folder: Path, keeper: Keeper | None) -> dict[str, object]:
    """Return what handlers reach, by runtime; *keeper* starts the launcher, where that is held to a floor."""
    launcher = Launcher(keeper)
    if keeper is not None:
        keeper.allow((), [folder])
    found: dict[str, object] = {}
    with ExitStack() as ends:
        for address in ("127.0.0.1", HOST, BRIDGE):
            ends.enter_context(socket.create_server((address, PORT)))
        async with launcher.held():
            for name in ("python", "provided"):
                bench = Bench(folder / name, launcher)
                bench.code.mkdir(parents=True)
                folder.chmod(0o755)
                function = bench.python(HANDLER, network=True)
                if name == "provided":
                    path = bench.file("bootstrap", BOOTSTRAP, 0o755)
                    function = bench.function("provided", command=(str(path),), network=True)
                outcome = await bench.call(function, PLACES)
                found[name] = json.loads(outcome.payload) if isinstance(outcome, Returned) else str(outcome)
            findings = await bench.runtime(launcher=launcher).levels.findings()
            lack = findings.lacks.get(Ability.NETWORK)
            found |= {"carried": findings.carried, "lack": lack and lack.found}
    return found


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    parser.add_argument("--user", action="store_true", help="let the hub be an ordinary user's")
    parser.add_argument("--kept", action="store_true", help="let the launcher be root's, and the hub another's")
    parser.add_argument("--within", action="store_true", help="in the network that is there")
    arguments = parser.parse_args()
    with contextlib.nullcontext() if arguments.within else hosted():
        if arguments.user:
            done = ordinary.run(
                arguments.folder, ["-m", "tests.runtimes.carried", "--within", str(arguments.folder)], timeout=120
            )
            sys.stderr.write(done.stderr)
            print(done.stdout)
        else:
            keeper = Keeper(uid=ordinary.UID) if arguments.kept else None
            print(json.dumps(asyncio.run(said(arguments.folder / "bench", keeper))))


if __name__ == "__main__":
    main()
