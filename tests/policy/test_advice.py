"""Every error that the hub itself makes of a function's failure has a remedy."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from triggerhub.policy.advice import advise

ROOT = Path(__file__).parents[2]


def test_the_errors_of_the_documentation_have_a_remedy() -> None:
    text = (ROOT / "docs" / "runtimes.md").read_text().partition("## What fails, and how")[2]
    named = re.findall(r"`((?:Runtime|Sandbox|Function)\.\w+)`", text)
    assert len(named) > 8
    assert [name for name in named if advise(name) is None] == []


def test_a_functions_own_error_has_none() -> None:
    assert advise("KeyError") is None


@pytest.mark.parametrize(
    ("kind", "message", "grant"),
    [
        ("FileNotFoundError", "[Errno 2] No such file or directory: '/srv/out.txt'", "write ="),
        ("FileNotFoundError", "[Errno 2] No such file or directory: 'inbox/out.txt'", "/var/task"),
        ("Error", "ENOENT: no such file or directory, open '/srv/out.txt'", "read ="),
        ("OSError", "[Errno 30] Read-only file system: '/etc/x'", "/tmp"),
        ("Runtime.ExitError", "exit status 2\ncannot create /etc/x: Read-only file system", "/tmp"),
        ("PermissionError", "[Errno 13] Permission denied: '/home/you/project/out'", "open to that user"),
        ("PermissionError", "[Errno 1] Operation not permitted: '/home/you/work/shared'", "setgid bit"),
        ("PermissionError", "[Errno 1] Operation not permitted", "mmap(-1)"),
        ("Error", "EPERM: operation not permitted, chmod '/home/you/work/x'", "setuid"),
        ("URLError", "<urlopen error [Errno -3] Temporary failure in name resolution>", "network ="),
        ("ConnectionRefusedError", "[Errno 111] Connection refused", "network ="),
        ("Error", "getaddrinfo EAI_AGAIN example.com", "network ="),
    ],
)
def test_what_a_sandbox_refuses_names_the_grant(kind: str, message: str, grant: str) -> None:
    assert grant in (advise(kind, message) or "")


@pytest.mark.parametrize(
    ("kind", "message", "remedy"),
    [
        ("Sandbox.Timedout", "Task timed out after 10.00 seconds", "loading its code"),
        ("Runtime.InvalidEntrypoint", "/opt/none: No such file or directory", "AWS_LAMBDA_EXEC_WRAPPER"),
        ("Runtime.Unknown", "not json", "errorType"),
        ("Runtime.BrokenProtocol", "RequestId: r1 Error: Runtime broke its protocol: x", "descriptors"),
        ("Sandbox.Timedout", "RequestId: r1 Error: Task timed out after 3.00 seconds", 'may be "15m"'),
        ("ReferenceError", "exports is not defined in ES module scope", "export const handler"),
        ("ReferenceError", "require is not defined in ES module scope, you can use import instead", "name it .cjs"),
    ],
)
def test_the_type_or_its_message_tells_which_remedy_it_is(kind: str, message: str, remedy: str) -> None:
    assert remedy in (advise(kind, message) or "")


@pytest.mark.parametrize("path", ["/tmp/a", "/var/task/data.json", "/opt/x"])
def test_a_file_that_is_missing_within_the_sandboxs_own_is_the_functions_affair(path: str) -> None:
    assert advise("FileNotFoundError", f"[Errno 2] No such file or directory: '{path}'") is None


def test_the_hubs_own_errors_keep_their_remedy() -> None:
    assert advise("Runtime.ImportModuleError", "No such file or directory") == advise("Runtime.ImportModuleError")
    assert advise("Runtime.ExitError", "exit status 1") == advise("Runtime.ExitError")


@pytest.mark.parametrize(
    "message",
    [
        "Unable to import module 'app': No module named 'boto3'",
        "Unable to import module 'app': No module named 'botocore.config'",
        "Error [ERR_MODULE_NOT_FOUND]: Cannot find package '@aws-sdk/client-lambda' imported from /var/task/index.mjs",
        "Error: Cannot find module 'aws-sdk'",
    ],
)
def test_an_sdk_that_is_not_there_is_told_to_be_brought(message: str) -> None:
    told = advise("Runtime.ImportModuleError", message)
    assert told is not None
    assert "no SDK of AWS" in told
    assert advise("Runtime.ImportModuleError", "No module named 'boto3x'") == advise("Runtime.ImportModuleError")
