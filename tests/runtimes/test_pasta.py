"""A function that reaches the world reaches nothing of the host, where pasta carries its network."""

from __future__ import annotations

import ipaddress
import json
import os
import shutil
import subprocess
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

import anyio
import pytest
import structlog

from tests.runtimes import carried as hosts
from tests.runtimes.attacks import ordinary
from tests.runtimes.conftest import Bench
from triggerhub.policy.sandbox import view
from triggerhub.policy.sandbox.levels import Ability, Lack
from triggerhub.runtimes.launch import Launcher
from triggerhub.runtimes.launcher import pasta
from triggerhub.runtimes.launcher.plan import FIRST_UID, BadPlan, Plan, decode, encode
from triggerhub.runtimes.probe import Findings
from triggerhub.runtimes.sandbox import network_of
from triggerhub.settings import Function

TRIE = """Main:
  +-- 0.0.0.0/0 3 0 5
     +-- 127.0.0.0/8 2 0 2
        +-- 127.0.0.0/31 1 0 0
           |-- 127.0.0.0
              /8 host LOCAL
           |-- 127.0.0.1
              /32 host LOCAL
        |-- 127.255.255.255
           /32 link BROADCAST
     +-- 192.0.2.0/24 2 0 2
        |-- 192.0.2.2
           /32 host LOCAL
        |-- 192.0.2.255
           /32 link BROADCAST
Local:
        |-- 192.0.2.2
           /32 host LOCAL
        |-- 172.17.0.1
           /32 host LOCAL
"""
INET6 = """fd000000000000000000000000000002 02 40 00 80     eth0
00000000000000000000000000000001 01 80 10 80       lo
"""


def test_the_host_s_own_addresses_are_read() -> None:
    assert pasta.addresses(TRIE, INET6) == ["192.0.2.2/32", "172.17.0.1/32", "fd00::2/128"]
    assert pasta.addresses("", "") == []


def test_no_port_leads_either_way() -> None:
    assert pasta.words("/usr/bin/pasta", 7) == [
        "/usr/bin/pasta", "--quiet", "--config-net", "--no-map-gw", "-t", "none", "-u", "none", "-T", "none", "-U", "none",
        "--dns-forward", "169.254.1.1", "7",
    ]  # fmt: skip


@pytest.mark.parametrize(("network", "length"), [("10.0.0.1/32", 36), ("fd00:ec2::/32", 48)])
def test_a_route_is_asked_for_in_the_kernel_s_words(network: str, length: int) -> None:
    message = pasta.route(network)
    assert int.from_bytes(message[:4], sys.byteorder) == len(message) == length
    assert message[17] == int(network.partition("/")[2])
    assert message[23] == 7, "unreachable"


@pytest.mark.parametrize(("network", "length"), [("10.0.0.1/32", 44), ("fd00:ec2::/32", 56)])
def test_a_rule_is_asked_for_in_the_kernel_s_words(network: str, length: int) -> None:
    message = pasta.rule(network)
    assert int.from_bytes(message[:4], sys.byteorder) == len(message) == length
    assert message[17] == int(network.partition("/")[2])
    assert message[23] == 7, "unreachable"


def test_a_network_is_closed_but_for_one_address() -> None:
    parts = [ipaddress.ip_network(one) for one in pasta.but(pasta.LINK, pasta.RESOLVER)]
    whole, left_out = ipaddress.ip_network(pasta.LINK), ipaddress.ip_network(pasta.RESOLVER)
    assert set(parts) == set(whole.address_exclude(left_out))


CLOSING = """
import os, subprocess, sys
from triggerhub.runtimes.launcher import kernel, pasta
kernel.unshare(kernel.CLONE_NEWNET)
for words in (
    "link set lo up", "link add near type veth peer name far", "link set near up", "link set far up",
    "address add 10.77.0.1/24 dev near", "route add default via 10.77.0.2", "route add 169.254.169.254 via 10.77.0.2",
    "address add 169.254.5.1/24 dev near",
):
    subprocess.run(["ip", *words.split()], check=True)
if sys.argv[1:]:
    pasta.rule = lambda network: pasta.route(network)[:4] + bytes([255]) + pasta.route(network)[5:]
    pasta._NO_RULES = range(1, 200)
pasta.close([*pasta.but(pasta.LINK, pasta.RESOLVER), *pasta.CLOSED, "10.77.0.1/32"])
for address in ("10.77.0.1", "10.77.0.9", "169.254.1.1", "169.254.169.254", "169.254.42.42", "169.254.5.7", "168.63.129.16"):
    found = subprocess.run(["ip", "route", "get", address], capture_output=True, text=True)
    print(address, "open" if found.returncode == 0 else found.stderr.split(": ")[-1].strip())
"""


@pytest.mark.skipif(os.geteuid() != 0 or not shutil.which("ip"), reason="it takes root and ip to make a network")
@pytest.mark.parametrize("rules", [True, False])
def test_what_is_closed_is_so_whatever_routes_a_host_has(rules: bool) -> None:
    words = [sys.executable, "-c", CLOSING, *([] if rules else ["none"])]
    done = subprocess.run(words, capture_output=True, text=True, check=True, cwd=ordinary.ROOT, timeout=60)
    said = dict(line.split(" ", 1) for line in done.stdout.splitlines())
    assert {name for name, what in said.items() if what == "open"} - {"169.254.169.254", "169.254.5.7"} == {
        "10.77.0.1", "10.77.0.9", "169.254.1.1"
    }  # fmt: skip
    # Without rules a host's own routes, where they are more exact, lead there.
    assert (said["169.254.169.254"], said["169.254.5.7"]) == (
        ("Network is unreachable",) * 2 if rules else ("open",) * 2
    )


@pytest.mark.parametrize(
    ("text", "upstream", "made"),
    [
        ("nameserver 10.0.0.1\n", "", "nameserver 10.0.0.1\n"),
        ("search a.example\n\nnameserver 127.0.0.53\n", "nameserver 10.0.0.1\n", "search a.example\nnameserver 10.0.0.1\n"),
        ("nameserver 127.0.0.1\noptions edns0\n", "", "options edns0\nnameserver 1.2.3.4\n"),
        ("nameserver ::1\nnameserver fe80::1%eth0\n", "", "nameserver fe80::1%eth0\n"),
        ("", "", "nameserver 1.2.3.4\n"),
        ("nameserver 127.0.0.53\n", "nameserver 168.63.129.16\n", "nameserver 1.2.3.4\n"),
        ("nameserver 169.254.169.254\n", "", "nameserver 1.2.3.4\n"),
        ("nameserver 169.254.169.254\nnameserver 10.0.0.1\n", "", "nameserver 10.0.0.1\n"),
    ],
)  # fmt: skip
def test_no_resolver_is_where_the_sandbox_reaches_nobody(text: str, upstream: str, made: str) -> None:
    assert view.resolvers(text, upstream, stand_in="1.2.3.4", closed=(pasta.LINK, *pasta.CLOSED)) == made


@pytest.mark.parametrize(
    ("network", "carried", "whose"),
    [
        (False, True, "own"), (("a.example:443",), True, "own"), (True, True, "carried"), (True, False, "host"),
        ("host", True, "host"),
    ],
)  # fmt: skip
def test_whose_network_a_function_is_in(network: object, carried: bool, whose: str) -> None:
    function = Function(name="f", runtime="python", code=Path("/x"), network=network)  # type: ignore[arg-type]
    assert network_of(function, carried=carried) == whose


def test_a_plan_names_a_network_that_there_is() -> None:
    assert decode(encode(Plan(id=1, uid=FIRST_UID, binds=(), network="carried"))).network == "carried"
    with pytest.raises(BadPlan, match="own, carried or the host's"):
        decode(encode(Plan(id=1, uid=FIRST_UID, binds=(), network="none")))  # type: ignore[arg-type]


@pytest.mark.skipif(pasta.find() is None, reason="pasta is not installed: apt install passt")
@pytest.mark.skipif(os.geteuid() != 0 or not shutil.which("ip"), reason="it takes root and ip to make a world")
@pytest.mark.parametrize("who", ["root", "user", "kept"])
def test_the_world_is_reached_and_the_host_is_not(who: str) -> None:
    if who == "user" and (why := ordinary.why_not()):
        pytest.skip(why)
    with tempfile.TemporaryDirectory(prefix="carried-") as folder:
        Path(folder).chmod(0o755)
        words = [sys.executable, "-m", "tests.runtimes.carried", folder, *([f"--{who}"] if who != "root" else [])]
        done = subprocess.run(words, capture_output=True, text=True, check=False, cwd=ordinary.ROOT, timeout=180)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["carried"], found["lack"]
    for runtime in ("python", "provided"):
        for place in sorted(hosts.PLACES):
            if place.startswith("world"):
                assert found[runtime][place] == "reached", (runtime, place, found)
                continue
            assert found[runtime][place] in ("Connection refused", "Network is unreachable"), (runtime, place, found)


@pytest.mark.parametrize("carried", [False, True])
async def test_who_shares_the_host_s_network_is_said_once(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, carried: bool
) -> None:
    monkeypatch.setattr("triggerhub.runtimes.levels.AGAIN", 0.001)
    lack = Lack(found="pasta is not installed", remedy="apt install passt")
    looked = anyio.Event()

    async def look(launcher: Launcher, planner: object) -> Findings:
        return Findings(lacks={} if carried else {Ability.NETWORK: lack}, carried=carried)

    def functions() -> list[Function]:
        asked.append(None)
        if len(asked) > 3:
            looked.set()
        return [open_one, replace(open_one, name="closed", network=False)]

    asked: list[None] = []
    open_one = bench.python("", network=True)
    monkeypatch.setattr("triggerhub.runtimes.probe.look", look)
    with structlog.testing.capture_logs() as said, anyio.fail_after(20):
        async with bench.runtime(launcher=Launcher()).levels.looked_at(functions):
            await looked.wait()
    told = [one for one in said if "share the host's network" in one["event"]]
    assert [(one["functions"], one["do"]) for one in told] == ([] if carried else [("f", "apt install passt")])
