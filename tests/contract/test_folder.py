"""What of a handler is called is shown, also where its table leaves the name to the runtime."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.contract.conftest import client
from tests.e2e.daemon import daemon
from triggerhub.web.lambda_api.folder import attribute

PYTHON = [
    ("def handler(event, context): ...", "handler"),
    ("async def handler(event, context): ...", "handler"),
    ("def lambda_handler(event, context): ...", "lambda_handler"),
    ("def lambda_handler(e, c): ...\ndef handler(e, c): ...", "handler"),
    ("# the handler\ndef lambda_handler(e, c):\n    handler = 1", "lambda_handler"),
    ("from app import main as lambda_handler", "lambda_handler"),
    ("import app\nlambda_handler, other = app.both()", "lambda_handler"),
    ("try:\n    import fast\nexcept ImportError:\n    lambda_handler = print", "lambda_handler"),
    ("if True:\n    pass\nelse:\n    class lambda_handler: ...", "lambda_handler"),
    ("handler: int\ndef lambda_handler(e, c): ...", "lambda_handler"),
    ("from app import *", "handler"),
    ("def (", "handler"),
]
NODE = [
    ("exports.handler = async () => 1;", "handler"),
    ("export const lambda_handler = async () => 1;", "lambda_handler"),
    ("exports.my_handler = 1; exports.lambda_handler = 2;", "lambda_handler"),
    ("module.exports = require('./app');", "handler"),
]


@pytest.mark.parametrize(("text", "name"), PYTHON)
def test_which_name_a_python_runtime_finds(text: str, name: str) -> None:
    assert attribute(text, python=True) == name


@pytest.mark.parametrize(("text", "name"), NODE)
def test_which_name_a_node_runtime_finds(text: str, name: str) -> None:
    assert attribute(text, python=False) == name


def test_each_function_of_the_folder_is_shown_with_what_is_called(tmp_path: Path) -> None:
    handlers = {
        "old.py": "def lambda_handler(event, context):\n    return 1\n",
        "named.py": "def main(event, context):\n    return 1\n",
        "page.mjs": "export const handler = async () => 1;\n",
        "tool": "#!/bin/sh\ncat\n",
    }
    with daemon(tmp_path, "[functions.named]\nhandler = 'named.py:main'\n", handlers, start=False) as hub:
        (hub.project / "handlers" / "tool").chmod(0o755)
        hub.start()
        shown = {one["FunctionName"]: one for one in client(hub).list_functions()["Functions"]}
        assert {name: one["Handler"] for name, one in shown.items()} == {
            "old": "old.lambda_handler", "named": "named.main", "page": "page.handler", "tool": "tool",
        }  # fmt: skip
        assert all(one["LastModified"].startswith("20") for one in shown.values())
