"""The aws command line, over a function's whole life, with a hub that is killed in the middle of it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from tests.contract.conftest import environ
from tests.contract.package import ROLE, RUNTIME, answering
from tests.e2e.daemon import Daemon, daemon

AWS = Path(sys.executable).with_name("aws")


def aws(hub: Daemon, *arguments: str) -> Any:
    """What ``aws lambda …`` says."""
    ran = subprocess.run(
        [AWS, "lambda", *arguments], env=environ(hub), capture_output=True, text=True, timeout=110, check=False
    )
    assert ran.returncode == 0, ran.stderr
    return json.loads(ran.stdout) if ran.stdout.strip() else None


def test_the_whole_life_of_a_function(tmp_path: Path) -> None:
    code, answer = tmp_path / "code.zip", tmp_path / "answer.json"

    def invoked(*more: str) -> Any:
        aws(hub, "invoke", "--function-name", "life", "--payload", "{}", *more, str(answer))
        return json.loads(answer.read_text())

    with daemon(tmp_path, "", {}) as hub:
        code.write_bytes(answering("one"))
        made = aws(
            hub, "create-function", "--function-name", "life", "--runtime", RUNTIME, "--handler", "app.handler",
            "--role", ROLE, "--zip-file", f"fileb://{code}", "--publish",
        )  # fmt: skip
        assert made["Version"] == "1"
        aws(hub, "wait", "function-active-v2", "--function-name", "life")
        assert invoked()["answer"] == "one"
        hub.kill()
        hub.start()
        code.write_bytes(answering("two"))
        updated = aws(
            hub, "update-function-code", "--function-name", "life", "--zip-file", f"fileb://{code}", "--publish"
        )
        assert updated["Version"] == "2"
        aws(hub, "create-alias", "--function-name", "life", "--name", "live", "--function-version", "2")
        assert invoked("--qualifier", "live")["answer"] == "two"
        listed = hub.cli("functions", "versions", "life")
        assert [line.split()[0] for line in listed.stdout.splitlines()] == ["VERSION", "$LATEST", "2", "1"]
        assert hub.cli("functions", "rollback", "life", "--alias", "live").stdout == "life:live is version 1 again\n"
        for number in ("4", "5"):
            aws(hub, "update-function-configuration", "--function-name", "life", "--timeout", number)
            aws(hub, "publish-version", "--function-name", "life")
        aws(hub, "update-alias", "--function-name", "life", "--name", "live", "--function-version", "4")
        assert hub.cli("functions", "rollback", "life", "--alias", "live").stdout == "life:live is version 1 again\n"
        assert hub.cli("functions", "rollback", "life").stdout == "life is version 3 again\n"
        assert hub.cli("functions", "rollback", "life", "--to", "1").stdout == "life is version 1 again\n"
        assert invoked("--qualifier", "live")["answer"] == invoked()["answer"] == "one"
        refused = hub.cli("functions", "rollback", "life", "--to", "9")
        assert (refused.returncode, "has no version '9'" in refused.stderr) == (1, True)
        aws(hub, "delete-function", "--function-name", "life")
        assert hub.cli("functions", "versions", "life").returncode == 1
