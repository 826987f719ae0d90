"""Run a Python handler inside a worker process, one request after the other.

Started as ``python -I -B worker.py HANDLER`` in the code's folder, with the hub's socket as fd 3; without -I where
variables of the function's say something to Python.
The standard library only, and little of it: all that is imported here delays every cold start. Python 3.8
is the oldest that it runs in.
"""

from __future__ import annotations

import os
import struct
import sys
import time

# By name: a handler that replaces json.dumps must not change what the hub is told.
from json import JSONDecoder, JSONEncoder, dumps, loads

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from importlib.machinery import ModuleSpec
    from types import ModuleType
    from typing import Any, TextIO

SOCKET, TETHER = 3, 4
HEAD = struct.Struct(">2sBBII")
INVOKE, READY, UNLOADABLE, RESULT, ERROR = 1, 2, 3, 4, 5
MAX_RESPONSE = 6 * 1024 * 1024 + 100
MAX_MESSAGE, MAX_TYPE = 4096, 256
CHUNK = 64 * 1024
OWNER, BOOTSTRAP = -1, os.path.dirname(__file__)
# Made once: what json itself makes anew for every event.
parse, compose = JSONDecoder().decode, JSONEncoder(ensure_ascii=False).encode
ABOUT = ("LOG_GROUP_NAME", "LOG_STREAM_NAME", "FUNCTION_NAME", "FUNCTION_MEMORY_SIZE", "FUNCTION_VERSION")
about: list[str | None] = []

request_id: str | None = None


class Fault(Exception):
    """An error of the runtime's, worded as Lambda words it."""

    def __init__(self, type: str, message: str, trace: Sequence[str] = ()) -> None:  # noqa: A002 - AWS's word
        super().__init__(message)
        self.type = type
        self.trace = list(trace)


class CognitoIdentity:
    """Who called through Cognito: nobody, here."""

    __slots__ = ["cognito_identity_id", "cognito_identity_pool_id"]

    def __init__(self) -> None:
        self.cognito_identity_id = None
        self.cognito_identity_pool_id = None

    def __repr__(self) -> str:
        return "CognitoIdentity([cognito_identity_id=None,cognito_identity_pool_id=None])"


class Client:
    """The mobile application that called."""

    __slots__ = ["app_package_name", "app_title", "app_version_code", "app_version_name", "installation_id"]

    def __init__(self, given: Mapping[str, Any]) -> None:
        for name in self.__slots__:
            setattr(self, name, given.get(name))


class ClientContext:
    """What the caller said of itself."""

    __slots__ = ["client", "custom", "env"]

    def __init__(self, given: Mapping[str, Any]) -> None:
        client = given.get("client")
        self.client = Client(client) if isinstance(client, dict) else None
        self.custom = given.get("custom")
        self.env = given.get("env")


class LambdaContext:
    """The second argument of a handler."""

    def __init__(self, header: Mapping[str, str]) -> None:
        if not about:
            about.extend(os.environ.get(f"AWS_LAMBDA_{name}") for name in ABOUT)
        self.aws_request_id = header["id"]
        self.log_group_name, self.log_stream_name = about[:2]
        self.function_name, self.memory_limit_in_mb, self.function_version = about[2:]
        self.invoked_function_arn = header["arn"]
        self.tenant_id = None
        self.client_context = client_context(header.get("client"))
        self.identity = CognitoIdentity()
        self._epoch_deadline_time_in_ms = int(header["deadline"])
        # Counted on the clock that the hub enforces it by: a wall clock that is set moves neither.
        self._end = time.monotonic() + int(header["remaining"]) / 1000

    def get_remaining_time_in_millis(self) -> int:
        return max(int((self._end - time.monotonic()) * 1000), 0)

    def log(self, message: object) -> None:
        sys.stdout.write(str(message))

    def __repr__(self) -> str:
        fields = ",".join(f"{name}={value}" for name, value in vars(self).items() if not name.startswith("_"))
        return f"LambdaContext([{fields}])"


def client_context(text: str | None) -> ClientContext | None:
    if not text:
        return None
    try:
        given = loads(text)
    except Exception as error:
        raise Fault("Runtime.LambdaContextUnmarshalError", f"Unable to parse Client Context JSON: {error}") from None
    return ClientContext(given if isinstance(given, dict) else {})


class LoggingHook:
    """Sets logging up as Lambda does at the moment it is imported, since importing it is slow."""

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> ModuleSpec | None:
        if name != "logging":
            return None
        sys.meta_path.remove(self)
        from importlib.machinery import PathFinder

        spec = PathFinder.find_spec(name, path, target)
        if spec is None or spec.loader is None:
            return None
        execute = spec.loader.exec_module

        def exec_module(module: ModuleType) -> None:
            execute(module)
            if hasattr(module, "getLogger"):
                part("logs")["set_up"](module, sys.modules["__main__"])

        spec.loader.exec_module = exec_module  # type: ignore[method-assign]
        return spec


def in_json() -> bool:
    return os.environ.get("AWS_LAMBDA_LOG_FORMAT", "").upper() == "JSON"


def load(root: str, notation: str) -> Any:
    """Return the handler that *notation* (``file.attribute``, Lambda's) names in *root*."""
    module_name, dot, attribute = notation.rpartition(".")
    if not dot:
        raise Fault(
            "Runtime.MalformedHandlerName",
            f"Bad handler '{notation}': not enough values to unpack (expected 2, got 1)",
        )
    try:
        module = import_module(root, module_name)
    except ImportError as error:
        raise Fault("Runtime.ImportModuleError", f"Unable to import module '{module_name}': {error}") from error
    except SyntaxError as error:
        where = f'  File "{error.filename}" Line {error.lineno}\n    {error.text}'
        message = f"Syntax error in module '{module_name}': {error}"
        raise Fault("Runtime.UserCodeSyntaxError", message, [where]) from None
    for name in [attribute] if attribute else ["handler", "lambda_handler"]:
        if hasattr(module, name):
            return getattr(module, name)
    message = f"Handler '{attribute or 'handler'}' missing on module '{module_name}'"
    raise Fault("Runtime.HandlerNotFound", message)


def import_module(root: str, name: str) -> ModuleType:
    import importlib.util

    path = os.path.join(root, name + ".py")
    if "." in name or "/" in name or not os.path.isfile(path):
        sys.path.insert(0, root)
        return importlib.import_module(name.replace("/", "."))
    private = name
    if name in getattr(sys, "stdlib_module_names", sys.builtin_module_names) or name in sys.modules:
        # A handler may be called queue.py: whoever imports queue shall still get Python's.
        private = f"handler_{name}"
        try:  # noqa: SIM105 - contextlib is not imported here
            importlib.import_module(name)
        except ImportError:
            pass
    sys.path.insert(0, root)
    spec = importlib.util.spec_from_file_location(private, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[private] = module
    spec.loader.exec_module(module)
    return module


def stack(error: BaseException) -> list[str]:
    """Return the traceback as strings, from where the user's code begins."""
    import traceback

    frames = traceback.extract_tb(error.__traceback__)
    own = (BOOTSTRAP + "/", "<frozen importlib", os.path.dirname(os.__file__) + "/asyncio/")
    first = next((n for n, frame in enumerate(frames) if not frame.filename.startswith(own)), 0)
    return traceback.format_list(frames[first:])


def describe(error: BaseException, identifier: str) -> tuple[dict[str, str], bytes]:
    """Return the error's type, its message and Lambda's error object."""
    if isinstance(error, Fault):
        kind, message, trace = error.type, error.args[0], error.trace
    else:
        kind, trace = type(error).__name__, stack(error)
        try:
            message = str(error)
        except BaseException:
            message = f"<the message of {kind} could not be made>"
    body = {"errorMessage": message, "errorType": kind, "requestId": identifier, "stackTrace": trace}
    payload = dumps(body).encode()
    if len(payload) > MAX_RESPONSE:
        body |= {"errorMessage": cut(message, MAX_MESSAGE), "errorType": cut(kind, MAX_TYPE), "stackTrace": []}
        payload = dumps(body, ensure_ascii=False).encode("utf-8", "replace")
    lines = [f"[ERROR] {kind}: {message}" if message else f"[ERROR] {kind}"]
    if trace:
        lines.append("Traceback (most recent call last):")
    if in_json():
        now = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        lines, trace = [dumps({"timestamp": now, "log_level": "ERROR", **body})], []
    try:  # noqa: SIM105 - contextlib is not imported here
        sys.stdout.write("\n".join(lines + [entry.rstrip("\n") for entry in trace]) + "\n")
    except Exception:
        pass  # the handler closed or replaced it: its error must be told all the same
    return {"type": cut(kind, MAX_TYPE), "message": cut(message, MAX_MESSAGE)}, payload


def cut(text: str, most: int) -> str:
    """Mark where it is cut: beside the mark the hub knows a part of a secret, which here nobody can."""
    return text if len(text) <= most else text[: most - 1] + "\u2026"


def unmarshal(payload: bytes) -> Any:
    try:
        try:
            return parse(payload.decode())
        except ValueError:
            return loads(payload)  # in another encoding, with a mark in front, or no JSON
    except Exception as error:
        raise Fault("Runtime.UnmarshalError", f"Unable to unmarshal input: {error}") from None


def marshal(value: Any) -> bytes:
    if isinstance(value, bytes):
        return value
    try:
        return compose(value).encode()
    except Exception:
        mark = None  # it takes more than that, or it is no JSON

    def special(item: Any) -> float | str:
        nonlocal mark
        decimal = sys.modules.get("decimal")
        if decimal is None or not isinstance(item, decimal.Decimal):
            raise TypeError(f"Object of type {type(item).__name__} is not JSON serializable")
        if item.is_nan():
            return float("nan")
        # The encoder has no way to write a number digit by digit: mark it, and strip the marks after.
        mark = mark or os.urandom(16).hex()
        return f"{mark}{item}"

    try:
        text = dumps(value, ensure_ascii=False, default=special)
        if mark:
            import re

            text = re.sub(f'"{mark}([^"]*)"', r"\1", text)
        try:
            payload = text.encode()
        except UnicodeEncodeError:
            payload = text.encode("utf-8", "backslashreplace")
    except Exception as error:
        raise Fault("Runtime.MarshalError", f"Unable to marshal response: {error}") from None
    return payload


def limit(payload: bytes) -> bytes:
    if len(payload) > MAX_RESPONSE:
        raise Fault(
            "Function.ResponseSizeTooLarge",
            f"Response payload size exceeded maximum allowed payload size ({MAX_RESPONSE} bytes).",
        )
    return payload


loop: Any = None


def finish(awaitable: Any) -> Any:
    """Wait for what an async handler returned, on the one loop of this worker."""
    global loop
    import asyncio

    if loop is None:
        loop = asyncio.new_event_loop()
        asyncio.set_event_loop(loop)

    async def wait() -> Any:
        return await awaitable

    return loop.run_until_complete(wait())


def answer(handler: Any, header: Mapping[str, str], payload: bytes) -> tuple[int, Mapping[str, str], bytes]:
    """Call the handler; return the frame that answers the request."""
    try:
        context = LambdaContext(header)
        result = handler(unmarshal(payload), context)
        if hasattr(type(result), "__await__"):
            result = finish(result)
        return RESULT, {"id": header["id"]}, limit(marshal(result))
    except (SystemExit, KeyboardInterrupt):
        raise
    except BaseException as error:
        told, body = describe(error, header["id"])
        return ERROR, {"id": header["id"], **told}, body


def flush(stream: TextIO) -> None:
    try:  # noqa: SIM105 - contextlib is not imported here
        stream.flush()
    except Exception:
        pass  # the handler closed or replaced it: that is its own affair


def send(kind: int, header: Mapping[str, str], payload: bytes = b"") -> None:
    if os.getpid() != OWNER:
        # A child that the handler forked and that came back here has nothing to answer.
        os._exit(0)
    flush(sys.stdout)
    flush(sys.stderr)
    text = b'{"id": "%b"}' % header["id"].encode() if list(header) == ["id"] else dumps(header).encode()
    write(b"".join((HEAD.pack(b"TH", kind, 0, len(text), len(payload)), text, payload)))


def write(frame: bytes, to: int = SOCKET) -> None:
    view = memoryview(frame)
    while view:
        view = view[os.write(to, view) :]


unread = b""
"""What came with an earlier read: most frames are there whole after one."""


def receive(count: int) -> bytes:
    """Read exactly *count* bytes; leave the process when the hub is gone."""
    global unread
    parts, there = [unread], len(unread)
    while there < count:
        try:
            data = os.read(SOCKET, max(count - there, CHUNK))
        except OSError:
            data = b""
        if not data:
            os._exit(0)
        parts.append(data)
        there += len(data)
    whole = parts[0] if len(parts) == 1 else b"".join(parts)
    unread = whole[count:]
    return whole[:count]


def frame() -> tuple[bytes, bytes]:
    """Wait for an event; return the text of its header and its bytes."""
    magic, kind, _, header, payload = HEAD.unpack(receive(HEAD.size))
    if magic != b"TH" or kind != INVOKE:
        os._exit(70)
    return receive(header), receive(payload)


def header_of(text: bytes) -> Mapping[str, str]:
    header: Mapping[str, str] = parse(text.decode())
    return header


def begin(header: Mapping[str, str]) -> None:
    global request_id
    request_id = header["id"]
    if "trace" in header:
        os.environ["_X_AMZN_TRACE_ID"] = header["trace"]
    else:
        os.environ.pop("_X_AMZN_TRACE_ID", None)


def serve(handler: Any) -> None:
    global request_id
    while True:
        text, body = frame()
        header = header_of(text)
        begin(header)
        send(*answer(handler, header, body))
        request_id = None


def part(name: str) -> dict[str, Any]:
    """Return what a part of the worker defines that not every function needs: ``forking`` or ``logs``."""
    path = f"{BOOTSTRAP}/{name}.py"
    names: dict[str, Any] | None = globals().get("PARTS", {}).get(name)
    if names is None:
        names = {"__name__": f"_triggerhub_{name}", "__file__": path}
        with open(path, "rb") as file:
            exec(compile(file.read(), path, "exec", dont_inherit=True), names)
    return names


def widen() -> None:
    """Let be imported what layers bring, before the interpreter's own as on Lambda, and what the function needs.

    PYTHONPATH goes before both, behind the code itself. A function with needs of its own sees no packages of the
    interpreter's.
    """
    # An empty one is the code's own folder, which comes before all.
    named = [os.path.abspath(path) for path in os.environ.get("PYTHONPATH", "").split(":")]
    # Where Python was not told to overlook it, it is there already, before everything, and so is this file's folder.
    sys.path[:] = [path for path in sys.path if path not in (BOOTSTRAP, *named)]
    opt, needs = (os.environ.pop(name, None) for name in ("_TRIGGERHUB_OPT", "_TRIGGERHUB_SITE"))
    if needs:
        sys.path[:] = [path for path in sys.path if not path.endswith(("/site-packages", "/dist-packages"))]
    if opt:
        version = f"python{sys.version_info[0]}.{sys.version_info[1]}"
        sys.path[:0] = [f"{opt}/python/lib/{version}/site-packages", f"{opt}/python"]
    if needs:
        import site

        site.addsitedir(needs)
    sys.path[:0] = [path for path in dict.fromkeys(named) if path != os.getcwd()]
    # Last: what the function brings itself goes before it.
    sys.path.append(BOOTSTRAP + "/offered")


def main() -> None:
    global OWNER
    OWNER = os.getpid()
    streams: tuple[Any, Any] = (sys.stdout, sys.stderr)
    for stream in streams:
        stream.reconfigure(line_buffering=True, errors="backslashreplace")
    for end in (SOCKET, TETHER):
        try:  # noqa: SIM105 - contextlib is not imported here
            os.set_inheritable(end, False)
        except OSError:
            pass  # in a sandbox there is no tether
    widen()
    try:
        # With what it needs of Python, before the code may bring modules of these names.
        forking = part("forking")["Forking"] if os.environ.pop("_TRIGGERHUB_REUSE", None) == "fork" else None
        if "YIELD" in globals():
            globals()["YIELD"](os.getcwd(), sys.argv[1])
        if "logging" in sys.modules:
            part("logs")["set_up"](sys.modules["logging"], sys.modules["__main__"])
        else:
            sys.meta_path.insert(0, LoggingHook())
        handler = load(os.getcwd(), sys.argv[1])
        run = forking(sys.modules["__main__"]).serve if forking else serve
    except (SystemExit, KeyboardInterrupt):
        raise
    except BaseException as error:
        told, body = describe(error, "")
        send(UNLOADABLE, told, body)
        sys.exit(1)
    send(READY, {})
    run(handler)


# The launcher has all this, and its PARTS, before there is a function, and calls main() once there is one.
if __name__ == "__main__" and "PARTS" not in globals():
    main()
