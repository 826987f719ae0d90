"""Say what to do about a function's error, by Lambda's name for it, or by what a sandbox lets a call end with."""

from __future__ import annotations

import re

_ADVICE = {
    "Runtime.ImportModuleError": (
        "put the module beside the handler with _ in front of its name, or name the package in the handler's inline "
        "metadata, in requirements.txt or package.json of its folder, or bring it by a layer"
    ),
    "Runtime.UserCodeSyntaxError": "mend the file and save it; it is loaded again by itself",
    "Runtime.HandlerNotFound": 'define handler(event, context), or name another function: handler = "FILE:NAME"',
    "Runtime.MalformedHandlerName": 'write handler = "FILE:NAME" in the function\'s table',
    "Runtime.MarshalError": "return what JSON can hold: texts, numbers, lists, objects with texts as keys, nothing",
    "Runtime.ExitError": (
        "what it wrote before is in the log (triggerhub logs), if anything; a handler answers or raises, and lives on"
    ),
    "Runtime.OutOfMemory": "raise its memory, or let it hold less at a time",
    "Runtime.InvalidEntrypoint": (
        "triggerhub check names what is not installed, and what was found; an AWS_LAMBDA_EXEC_WRAPPER comes with its "
        "code or a layer"
    ),
    "Runtime.InvalidMetadata": "mend that and save it; it is read again by itself, and triggerhub check names it all",
    "Runtime.DependenciesNotReady": "triggerhub status says how far they are",
    "Runtime.BrokenProtocol": "it must leave descriptors 3 and 4 alone; the log has what it wrote before, if anything",
    "Runtime.Unknown": 'let its bootstrap post errors as JSON: { "errorType": "…", "errorMessage": "…" }',
    "Sandbox.Timedout": 'raise its timeout, which may be "15m", or give it less at a time',
    "Function.ResponseSizeTooLarge": "answer with less than 6 MB: write the rest to a file and return its name",
}

_LOADING = (
    "loading its code may take 10 seconds, or as long as its timeout where that is longer: do less before there is an "
    "event, or raise its timeout over that"
)
_STARTED_LATE = re.compile(r"^Task timed out after ")
"""So ends a start; a call's timeout has its id in front."""
_MODULE = re.compile(r"\b(?:exports|module|require|__dirname|__filename) is not defined in ES module scope")
_MODULES = "Node reads it as an ES module: write export const handler = …, and import; or name it .cjs"
_SDK = re.compile(r"""\b(?:boto3|botocore)\b|['"/](?:@aws-sdk/|aws-sdk\b)""")
_NO_SDK = (
    "runtimes here bring no SDK of AWS: put it into the archive or a layer, or name it in requirements.txt or "
    "package.json of the function's folder"
)
_OWN = frozenset({"/tmp", "/var/task", "/opt", "/proc", "/dev"})
"""What a sandbox has of its own; a file that is missing there is not missing for the sandbox's sake."""
_QUOTED = re.compile(r"""['"](/[^'"]*)['"]""")
_WRITES = (
    'in a sandbox a handler writes to /tmp, and to what its function\'s table grants: sandbox = { write = ["FOLDER"] }'
)
_SEES = (
    "in a sandbox a handler sees its code (/var/task, where it starts), the folders of its files triggers, and what "
    'its function\'s table grants: sandbox = { read = ["FOLDER"], write = ["FOLDER"] }'
)
_IS = "in a sandbox a handler is an ordinary user of its own: what it is granted must be open to that user, too"
_MAY = (
    "in a sandbox a handler gives no file a setuid or setgid bit, nor another owner, and administers nothing: let it "
    "copy what is in files and not their modes and owners; where no control group counts its memory, it "
    "shares none without a file, by mmap(-1) or memfd_create: let it map one of /tmp"
)
_REACHES = (
    "in a sandbox a handler has no network but what its function's table grants: "
    'sandbox = { network = ["HOST:PORT"] }, or true for whatever the host reaches, or "host" for the host itself, too'
)
_WALLS = (
    (re.compile(r"\[Errno 30\]|\bEROFS\b|Read-only file system"), _WRITES),
    (re.compile(r"\[Errno 2\]|\bENOENT\b|No such file or directory"), _SEES),
    (re.compile(r"\[Errno 1\]|\bEPERM\b|Operation not permitted"), _MAY),
    (re.compile(r"\[Errno 13\]|\bEACCES\b|Permission denied"), _IS),
    (
        re.compile(
            r"name resolution|Name or service not known|Could not resolve host|\b(?:ENOTFOUND|EAI_AGAIN)\b"
            r"|\[Errno (?:101|111)\]|\b(?:ECONNREFUSED|ENETUNREACH)\b|Connection refused|Network is unreachable"
        ),
        _REACHES,
    ),
)
"""What walls of a sandbox look like from inside, in Python's words, Node's and the system's, and how they open."""


def advise(kind: str, message: str = "") -> str | None:
    """Return the remedy for an error of this type and message; None for one that is the function's own affair.

    What a sandbox refuses reaches a handler as an error of its own, whose words do not know of sandboxes.
    """
    known = _ADVICE.get(kind)
    if kind == "Runtime.ImportModuleError" and _SDK.search(message):
        return _NO_SDK
    if kind == "Sandbox.Timedout" and _STARTED_LATE.match(message):
        return _LOADING
    if kind == "ReferenceError" and _MODULE.search(message):
        return _MODULES
    if known is not None and kind != "Runtime.ExitError":
        return known
    return next((remedy for wall, remedy in _WALLS if wall.search(message) and not _at_home(message)), known)


def _at_home(message: str) -> bool:
    """Whether it is about a path that every sandbox has."""
    path = _QUOTED.search(message)
    return path is not None and any(path[1] == own or path[1].startswith(own + "/") for own in _OWN)
