"""Serve a trivial handler over HTTP as others do, to be loaded beside the hub's answering webhook."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from bench.load import answers
from bench.peers import WORKERS, environment, modules, running, version
from tests.e2e.ports import free_port

FRAMEWORK = """
import functions_framework

@functions_framework.http
def echo(request):
    request.get_json()
    return {"ok": True}
"""
SERVERLESS = """
service: bench
frameworkVersion: "3"
configValidationMode: "off"
plugins: [serverless-offline]
provider: {name: aws, runtime: python3.11}
functions:
  echo:
    handler: main.handler
    events: [{httpApi: {path: /, method: post}}]
"""
HANDLER = """
import json

def handler(event, context):
    json.loads(event["body"])
    return {"ok": True}
"""
QUIET = {"SLS_TELEMETRY_DISABLED": "1", "SLS_NOTIFICATIONS_MODE": "off", "SLS_DISABLE_AUTO_UPDATE": "1", "CI": "1"}
FLOW = [
    {"id": "tab", "type": "tab", "label": "bench"},
    {"id": "in", "type": "http in", "z": "tab", "url": "/", "method": "post", "wires": [["work"]]},
    {"id": "work", "type": "function", "z": "tab", "func": "msg.payload = {ok: true}; return msg;", "wires": [["out"]]},
    {"id": "out", "type": "http response", "z": "tab", "statusCode": "200", "wires": []},
]


@contextmanager
def functions_framework(folder: Path) -> Iterator[tuple[str, str]]:
    """Serve by Google's Functions Framework; yields its name and URL. Raises Skipped."""
    python = environment("functions-framework", "functions-framework")
    folder.mkdir()
    (folder / "main.py").write_text(FRAMEWORK)
    port = free_port()
    command = [python.with_name("functions-framework"), "--target", "echo", "--source", "main.py", "--port", str(port)]
    with running(command, lambda: answers(port), cwd=folder, env={"WORKERS": str(WORKERS)}):
        yield f"functions-framework {version(python, 'functions-framework')}", f"http://127.0.0.1:{port}/"


@contextmanager
def serverless_offline(folder: Path) -> Iterator[tuple[str, str]]:
    """Serve by serverless-offline's Python runner; yields its name and URL. Raises Skipped."""
    home = modules("serverless-offline", "serverless@3", "serverless-offline@13")
    folder.mkdir()
    (folder / "serverless.yml").write_text(SERVERLESS)
    (folder / "main.py").write_text(HANDLER)
    (folder / "node_modules").symlink_to(home / "node_modules")
    port, other = free_port(), free_port()
    command = [home / "node_modules/.bin/serverless", "offline", "start", "--noTimeout", "--host", "127.0.0.1"]
    ports = ["--httpPort", str(port), "--lambdaPort", str(other)]
    with running([*command, *ports], lambda: answers(port), cwd=folder, env=QUIET):
        yield f"serverless-offline {_version(home, 'serverless-offline')}", f"http://127.0.0.1:{port}/"


@contextmanager
def node_red(folder: Path) -> Iterator[tuple[str, str]]:
    """Serve by a function node of Node-RED, which runs in the server's own process; yields its name and URL."""
    home = modules("node-red", "node-red")
    folder.mkdir()
    port = free_port()
    settings = {
        "uiPort": port, "uiHost": "127.0.0.1", "flowFile": "flows.json", "httpAdminRoot": False,
        "logging": {"console": {"level": "error"}}, "telemetry": {"enabled": False},
    }  # fmt: skip
    (folder / "settings.js").write_text(f"module.exports = {json.dumps(settings)}")
    (folder / "flows.json").write_text(json.dumps(FLOW))
    command = [home / "node_modules/.bin/node-red", "-u", folder, "-s", folder / "settings.js"]
    with running(command, lambda: answers(port), cwd=folder):
        yield f"Node-RED {_version(home, 'node-red')}, function node", f"http://127.0.0.1:{port}/"


def _version(home: Path, package: str) -> str:
    return str(json.loads((home / "node_modules" / package / "package.json").read_text())["version"])


SERVERS = (functions_framework, serverless_offline, node_red)
