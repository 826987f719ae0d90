"""Say what to do about a function's error, by Lambda's name for it."""

from __future__ import annotations

_ADVICE = {
    "Runtime.ImportModuleError": (
        "put the module beside the handler with _ in front of its name, or name the package in the handler's inline "
        "metadata, in requirements.txt or package.json of its folder, or bring it by a layer"
    ),
    "Runtime.UserCodeSyntaxError": "mend the file and save it; it is loaded again by itself",
    "Runtime.HandlerNotFound": 'define handler(event, context), or name another function: handler = "FILE:NAME"',
    "Runtime.MalformedHandlerName": 'write handler = "FILE:NAME" in the function\'s table',
    "Runtime.MarshalError": "return what JSON can hold: texts, numbers, lists, objects with texts as keys, nothing",
    "Runtime.ExitError": "its last words are in the log (triggerhub logs); a handler answers or raises, and lives on",
    "Runtime.OutOfMemory": "raise its memory, or let it hold less at a time",
    "Runtime.InvalidEntrypoint": "triggerhub check names what is not installed, and what was found",
    "Runtime.DependenciesNotReady": "triggerhub status says how far they are",
    "Runtime.Unknown": "it must leave descriptors 3 and 4 alone; its last words are in the log",
    "Sandbox.Timedout": 'raise its timeout, which may be "15m", or give it less at a time',
    "Function.ResponseSizeTooLarge": "answer with less than 6 MB: write the rest to a file and return its name",
}


def advise(kind: str) -> str | None:
    """Return the remedy for an error of this type; None for one of the function's own."""
    return _ADVICE.get(kind)
