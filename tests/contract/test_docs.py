"""The commands that docs/lambda-api.md shows do what it says, with the aws command line of PyPI."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest
from botocore.exceptions import ClientError

from tests.contract.conftest import client
from tests.contract.package import create, zipped
from tests.e2e.daemon import Daemon, daemon
from triggerhub.config import scaffold

PAGE = Path(__file__).parents[2] / "docs" / "lambda-api.md"
HELLO = (Path(scaffold.__file__).parent / "template" / "handlers" / "hello.py").read_text()
PAYLOAD = """'{"body": "{\\"name\\": \\"you\\"}"}'"""
WEB = "def handler(event, context):\n    return 'open'\n"


def shown() -> list[str]:
    """The page's blocks of commands, in their order."""
    return [block.strip() for block in PAGE.read_text().split("```")[1::2]]


def ran(hub: Daemon, commands: str) -> str:
    """Run commands as somebody does who has activated the virtual environment."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    known = {"PATH": path, "AWS_PAGER": "", "AWS_CONFIG_FILE": "/nowhere", "HOME": str(hub.project)}
    text = commands.replace("127.0.0.1:8701", f"127.0.0.1:{hub.admin}")
    done = subprocess.run(
        ["bash", "-euc", text], cwd=hub.project, env=known, capture_output=True, text=True, timeout=110, check=False
    )
    assert done.returncode == 0, f"{commands}\n{done.stdout}{done.stderr}"
    return done.stdout


def test_the_pages_commands(tmp_path: Path) -> None:
    with daemon(tmp_path, "", {"hello.py": HELLO}) as hub:
        lambdas = client(hub)
        create(lambdas, "web", zipped({"app.py": WEB}))
        create(lambdas, "orders", zipped({"app.py": WEB}), Publish=True)
        for number in range(2, 8):
            lambdas.update_function_configuration(FunctionName="orders", Timeout=number)
            assert lambdas.publish_version(FunctionName="orders")["Version"] == str(number)
        lambdas.create_alias(FunctionName="orders", Name="live", FunctionVersion="6")
        first, keys, policy, opening, canary, url = shown()
        assert '"FunctionName": "hello"' in ran(hub, first)
        assert (hub.project / "answer.json").read_text() == '{"greeted": "you"}'
        (hub.project / "event.json").write_text(json.dumps({"body": '{"name": "file"}'}))
        ran(hub, first.replace(PAYLOAD, "fileb://event.json"))
        assert (hub.project / "answer.json").read_text() == '{"greeted": "file"}'
        setting = first[: first.index("aws lambda")]
        arn = "arn:aws:lambda:us-east-1:000000000000:function:orders"
        deny = {"Effect": "Deny", "Principal": "*", "Action": "lambda:*", "Resource": arn}
        text = json.dumps({"Version": "2012-10-17", "Statement": [deny]})
        lambdas.put_resource_policy(ResourceArn=arn, Policy=text)
        ran(hub, opening)
        with pytest.raises(ClientError, match="ResourceNotFoundException"):
            lambdas.get_policy(FunctionName="orders")
        ran(hub, setting + url)
        address = lambdas.get_function_url_config(FunctionName="web")["FunctionUrl"]
        with urllib.request.urlopen(address, timeout=20) as answer:
            assert answer.read() == b"open"
        ran(hub, canary)
        alias = lambdas.get_alias(FunctionName="orders", Name="live")
        assert alias["RoutingConfig"]["AdditionalVersionWeights"] == {"7": 0.1}
        assert ran(hub, keys).count("AWS_ACCESS_KEY_ID=") == 2
        (hub.project / "deploy.json").write_text(policy.removeprefix("json"))
        assert "AWS_ACCESS_KEY_ID=" in ran(hub, "triggerhub token create other --aws --policy deploy.json")
        assert json.loads(ran(hub, "triggerhub token show other --json"))["policy"] == json.loads(
            policy.removeprefix("json")
        )


def test_what_the_page_says_of_the_command_lines_two_versions(tmp_path: Path) -> None:
    """Version 1 does refuse the option that version 2 needs: when it no longer does, the page is to say so."""
    ran = subprocess.run(
        [Path(sys.executable).with_name("aws"), "lambda", "invoke", "--function-name", "hello",
         "--cli-binary-format", "raw-in-base64-out", "--payload", "{}", str(tmp_path / "answer")],
        env={**os.environ, "AWS_CONFIG_FILE": "/nowhere"}, capture_output=True, text=True, timeout=110, check=False,
    )  # fmt: skip
    assert ran.returncode != 0
    assert "--cli-binary-format" in ran.stderr
