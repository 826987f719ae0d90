"""Make the project's functions of what was discovered, what was written and what they inherit."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

from triggerhub.config import interpreters, metadata
from triggerhub.config.code import Code, CodeError, Shelf, broken, lacking
from triggerhub.config.complain import validate
from triggerhub.config.discover import Discovery, Found, RuntimeName
from triggerhub.config.interpreters import PROGRAMS, Missing, Wanted
from triggerhub.config.metadata import Metadata
from triggerhub.config.problem import Problem, Report, dotted
from triggerhub.config.schema import NAME, Defaults, Inline, given
from triggerhub.config.schema import Function as FunctionTable
from triggerhub.config.secrets import Secrets
from triggerhub.errors import ConfigError
from triggerhub.policy import selecting, units
from triggerhub.settings import AS_LAMBDA, GB, Function, Idempotency, Interpreter, RetryPolicy, Secret


def merge(*layers: Mapping[str, Any]) -> dict[str, Any]:
    """Merge tables, the later over the earlier, inline tables key by key."""
    merged: dict[str, Any] = {}
    for layer in layers:
        for key, value in layer.items():
            below = merged.get(key)
            merged[key] = merge(below, value) if isinstance(below, dict) and isinstance(value, dict) else value
    return merged


class Functions:
    """Builds every function of a project.

    ``made`` holds them by name, None where one has errors: its name is known all the same.
    """

    def __init__(self, shelf: Shelf, report: Report, secrets: Secrets, deployed: Collection[str] = frozenset()) -> None:
        """*deployed* are names of functions that were made elsewhere."""
        self._shelf = shelf
        self._report = report
        self._secrets = secrets
        self._deployed = deployed
        self.made: dict[str, Function | None] = {}
        self.given: dict[str, dict[str, Any]] = {}
        """What was written of a function, its layers merged."""
        self.inline: dict[str, tuple[str, Inline]] = {}
        """What handlers say of themselves, with the file that says it."""
        self.problems: list[Problem] = []
        self.inherited: dict[str, Any] = {}
        """What was written in ``[defaults]``."""
        self.retries: dict[str, dict[str, Any]] = {}
        """What was written of the ``retry`` of functions that were made elsewhere."""

    def build(self, data: Mapping[str, Any], discovery: Discovery) -> None:
        """Build the functions of ``[functions]`` and of the handlers folder over ``[defaults]``."""
        inherited = validate(Defaults, data.get("defaults", {}), ("defaults",), self._report, self._secrets)
        self.inherited = self._defaults = given(inherited) if inherited else {}
        self._tables = data.get("functions", {})
        self._retry_fits("defaults", self._defaults)
        self._warm_fits(("defaults",), self._defaults, self._defaults)
        self.defaults = _inherited(self._defaults, self._shelf.project)
        used = self._used()
        self.problems += [one for name, one in discovery.unentered.items() if name not in {*used, *self._tables}]
        for name in sorted(discovery.names | discovery.undecided.keys() | self._tables.keys()):
            self.made[name] = None
            raw = self._tables.get(name, {})
            told = isinstance(raw, dict) and ("handler" in raw or "command" in raw)
            if name in discovery.undecided and not told:
                self.problems.append(discovery.undecided[name])
            elif name in discovery.unentered and not told:
                self.problems.append(replace(discovery.unentered[name], severity="error"))
            elif NAME.fullmatch(name) is None:
                message = f"{name!r} cannot be a function's name: letters, digits, '-' and '_', at most 64"
                self._report.error(("functions", name), "bad-name", message, at="key")
            elif name in self._deployed and name not in discovery.names and not told:
                del self.made[name]  # it is made where its code is
                self._elsewhere(name, raw)
            elif name in discovery.found or told or name not in discovery.names:
                self.made[name] = self._function(name, raw, discovery.found.get(name))

    def _used(self) -> set[str]:
        """Return the folders of the handlers folder that tables name something in."""
        words: list[object] = []
        for raw in self._tables.values():
            if isinstance(raw, dict):
                words.append(raw.get("handler"))
                command = raw.get("command")
                words += command if isinstance(command, list) else []
        parts = [word.split("/") for word in words if isinstance(word, str)]
        return {part for one in parts for part in one}

    def _function(self, name: str, raw: Any, found: Found | None) -> Function | None:
        base = ("functions", name)
        before = len(self._report.problems)
        table = validate(FunctionTable, raw, base, self._report, self._secrets)
        if table is None:
            return None
        unclear = any(key in raw and getattr(table, key) is None for key in _OF_CODE)
        code, inline = (None, Inline()) if unclear else self._code(name, table, found)
        written = merge(self._defaults, given(inline), {k: v for k, v in given(table).items() if k not in _OF_CODE})
        self.given[name] = written
        if "retry" in given(inline) | given(table):
            self._retry_fits(f"functions.{name}", written)
        self._idempotency_fits(name, written, "idempotency" in given(inline) | given(table))
        self._sandbox_fits(name, written, given(table))
        if code is not None:
            self._reuse_fits(name, code, written, given(table))
        if code is not None and code.runtime == "executable":
            self._without_workers(name, given(table))
            written = {key: value for key, value in written.items() if key not in ("warm", "reuse")}
        elif {"warm", "concurrency"} & (given(inline) | given(table)).keys():
            self._warm_fits(("functions", name), written, given(table))
        added = self._layers(name, table, inline, written.get("layers", []))
        if (
            code is None
            or added is None
            or any(problem.severity == "error" for problem in self._report.problems[before:])
        ):
            return None
        self._look_at_memory(name, written, table)
        self._look_for_program(name, code, written.get("env", {}), table)
        layers, opt = added
        if layers:
            self._look_at_layers(name, code, written, table)
        written = {key: value for key, value in written.items() if key != "layers"}
        return _made(name, code, written | {"opt": opt}, [layers] if layers else [], self._shelf.project)

    def _look_at_layers(self, name: str, code: Code, written: Mapping[str, Any], table: FunctionTable) -> None:
        """Say what of its layers a function will not find as on Lambda."""
        path = ("functions", name, "layers") if "layers" in given(table) else ("functions", name)
        if written.get("sandbox", {}).get("level") == "trusted":
            message = f"functions.{name}: at level trusted its layers are on the same paths, but not at /opt"
            self._report.warn(path, "no-opt", message, "choose another level where a path begins with /opt")
        beside = self._shelf.extensions(written["layers"])
        if beside and code.runtime != "provided":
            names = ", ".join(beside)
            message = f"functions.{name}: its layers bring extensions ({names}), which run beside a bootstrap only"
            self._report.warn(path, "no-extensions", message)

    def _layers(
        self, name: str, table: FunctionTable, inline: Inline, layers: list[str]
    ) -> tuple[str, Path | None] | None:
        """Return the name and the folder of what the layers come to; None where that is an error, which is reported."""
        if not layers:
            return "", None
        try:
            return self._shelf.opt(layers)
        except ConfigError as error:
            if "layers" in given(inline) and "layers" not in given(table):
                file = self.inline[name][0]
                message = f"tool.triggerhub.layers: {error.message}"
                self.problems.append(Problem(file=file, code="bad-layer", message=message, hint=error.hint))
                return None
            path = ("functions", name, "layers") if "layers" in given(table) else ("defaults", "layers")
            self._report.error(path, "bad-layer", f"{dotted(path)}: {error.message}", error.hint)
            return None

    def _code(self, name: str, table: FunctionTable, found: Found | None) -> tuple[Code | None, Inline]:
        base = ("functions", name)
        inline = Inline()
        if table.command is not None and table.handler is not None:
            message = f"functions.{name} has both a handler and a command"
            self._report.error((*base, "command"), "bad-handler", message, "leave one out", at="key")
            return None, inline
        if (chosen := self._interpreter(name, table)) is None:
            return None, inline
        runtime, interpreter = chosen
        key = "command" if table.command is not None else "handler" if table.handler is not None else "runtime"
        try:
            if table.command is not None:
                if runtime not in (None, "executable", "provided"):
                    raise CodeError("bad-handler", f"a command is an executable, not {table.runtime}")
                return self._shelf.of_command(name, table.command, runtime or "executable"), inline
            attribute = ""
            packages: tuple[str, ...] = ()
            if table.handler is not None:
                found, attribute = self._shelf.find(table.handler, runtime)
            elif found is None:
                self._without_code(name)
                return None, inline
            else:
                found = self._shelf.as_told(found, runtime)
            if found.runtime == "python":
                said = self._said(found.entry, interpreter)
                inline, packages = said.inline, said.dependencies
                self.inline[name] = (self._shelf.show(found.entry), inline)
            return self._shelf.of_file(name, found, attribute, interpreter, packages), inline
        except ConfigError as error:
            kind = error.code if isinstance(error, CodeError) else "unreadable"
            message = f"functions.{name}: {error.message}"
            if name in self._tables:
                self._report.error((*base, key), kind, message, error.hint)
            else:
                file = self._shelf.show(found.folder_or_entry if found else self._shelf.handlers)
                self.problems.append(Problem(file=file, code=kind, message=message, hint=error.hint))
            return None, inline

    def _interpreter(self, name: str, table: FunctionTable) -> tuple[RuntimeName | None, Interpreter | None] | None:
        """Return what kind of runtime was asked for, and the interpreter, None being the hub's own.

        None where what was asked for is an error, which is reported. One that is not installed is a
        warning: the other functions go on, and a call of this one is told so.
        """
        if table.runtime is None:
            return None, None
        path, wanted = ("functions", name, "runtime"), Wanted(None)
        try:
            wanted = interpreters.parse(table.runtime)
            interpreter = interpreters.find(wanted, self._shelf.environ)
        except Missing as error:
            self._report.warn(path, "no-program", f"functions.{name} needs {error.message}", error.hint)
            interpreter = Interpreter(runtime=error.runtime, program="", name=error.name)
        except ConfigError as error:
            self._report.error(path, "bad-runtime", f"functions.{name}.runtime: {error.message}", error.hint)
            return None
        return wanted.runtime or (interpreter.runtime if interpreter else None), interpreter

    def _without_code(self, name: str) -> None:
        folder = self._shelf.show(self._shelf.handlers)
        hint = f"put {name}.py into {folder}, or write a handler or a command"
        message = f"functions.{name} has no code: nothing in {folder} is called {name}"
        self._report.error(("functions", name), "no-handler", message, hint, at="key")

    def _elsewhere(self, name: str, raw: Any) -> None:
        """Take what is said of the retries of a function that was made by the Lambda API, and refuse all else."""
        table = validate(FunctionTable, raw, ("functions", name), self._report, self._secrets)
        if table is None:
            return
        written = given(table)
        for key in sorted(written.keys() - {"retry"}):
            message = f"functions.{name}.{key}: that function was made by the Lambda API, which alone sets its {key}"
            hint = "take it out, and use UpdateFunctionConfiguration or [defaults]; only retry is set here"
            self._report.error(("functions", name, key), "no-handler", message, hint, at="key")
        retry = written.get("retry", {})
        policy = replace(AS_LAMBDA, **retry)
        if policy.initial > policy.max:
            path = ("functions", name, "retry", "initial" if "initial" in retry else "max")
            self._report.error(path, "bad-retry", too_long(f"functions.{name}", policy), SHORTER)
        self.retries[name] = retry
        self.given[name] = merge(self._defaults, {"retry": retry})

    def _said(self, entry: Path, interpreter: Interpreter | None) -> Metadata:
        """Read a handler's inline metadata, and report what is wrong with it or with the file."""
        file = self._shelf.show(entry)
        try:
            text = entry.read_bytes().decode("utf-8-sig")
        except UnicodeDecodeError:
            # Another encoding may be declared in the file; the interpreter will say.
            return Metadata()
        except OSError as error:
            raise ConfigError(f"{file} cannot be read: {error.strerror}", hint="let the hub's user read it") from None
        if wrong := broken(text):
            line, column, reason = wrong
            # A warning: the other functions go on, and on a reload this one's last good version does.
            self.problems.append(
                Problem(
                    file=file, line=line, column=column, severity="warning", code="bad-handler",
                    message=f"{file} is not valid Python: {reason}",
                )
            )  # fmt: skip
        said = metadata.read(text, file, self._secrets, interpreter)
        self.problems += said.problems
        return said

    def _retry_fits(self, owner: str, written: Mapping[str, Any]) -> None:
        policy = retry_policy(written)
        if policy.initial > policy.max:
            path = (*owner.split(".", 1), "retry", "initial")
            self._report.error(path, "bad-retry", too_long(owner, policy), SHORTER)

    def _without_workers(self, name: str, own: Mapping[str, Any]) -> None:
        """Refuse to keep workers of an executable ready; what ``[defaults]`` says is meant for others."""
        if own.get("warm"):
            message = f"functions.{name}: warm is {own['warm']}, but an executable is started anew for each call"
            hint = 'leave it out, or use the Lambda Runtime API (runtime = "provided")'
            self._report.error(("functions", name, "warm"), "bad-warm", message, hint, at="key")

    def _reuse_fits(self, name: str, code: Code, written: Mapping[str, Any], own: Mapping[str, Any]) -> None:
        """Refuse a fork of what cannot be forked, and workers of an executable that one call leaves to the next.

        An executable has each call in a process of its own, which is more than ``[defaults]`` could ask for.
        """
        reuse = written.get("reuse", "warm")
        said = "reuse" in own
        if code.runtime == "python" or reuse not in ("fork", "warm"):
            return
        if code.runtime == "executable":
            if said:
                message = f'functions.{name}: reuse is "{reuse}", but an executable is started anew for each call'
                self._report.error(("functions", name, "reuse"), "bad-reuse", message, "leave it out", at="key")
        elif reuse == "fork":
            path = ("functions", name, "reuse") if said else ("defaults", "reuse")
            kind = "Node" if code.runtime == "node" else "a bootstrap"
            message = f'{dotted(path)} is "fork", which is for Python, but functions.{name} is {kind}'
            hint = f'write reuse = "fresh" for a new worker each time, or "warm", in [functions.{name}]'
            self._report.error(path, "bad-reuse", message, hint)

    def _warm_fits(self, base: tuple[str, ...], written: Mapping[str, Any], own: Mapping[str, Any]) -> None:
        """Refuse more workers than may run; *own* is what stands at *base* itself."""
        warm, most = written.get("warm", 0), written.get("concurrency", Defaults().concurrency)
        if warm > most:
            key = "warm" if "warm" in own else "concurrency"
            message = f"{dotted(base)}: warm is {warm}, over concurrency, which is {most}"
            self._report.error((*base, key), "bad-warm", message, "lower warm or raise concurrency")

    def _idempotency_fits(self, name: str, written: dict[str, Any], own: bool) -> None:
        idempotency = written.get("idempotency")
        path = ("functions", name, "idempotency")
        if idempotency is None:
            return
        if idempotency.get("key") is None:
            if not own:
                # The defaults may say how long keys are kept, for those functions that have one.
                del written["idempotency"]
                return
            self._report.error(path, "missing-key", f'functions.{name}.idempotency needs the key "key"', at="key")
            return
        try:
            selecting.compile(idempotency["key"])
        except ValueError as error:
            self._report.error((*path, "key"), "bad-key", f"functions.{name}.idempotency.key: {error}")

    def _look_at_memory(self, name: str, written: Mapping[str, Any], table: FunctionTable) -> None:
        memory, there = written.get("memory", 0), _host_memory()
        if there and memory > there:
            path = ("functions", name, "memory") if "memory" in given(table) else ("defaults", "memory")
            message = f"{dotted(path)} is {units.show_size(memory)}, but this host has {there / GB:.1f} GB in all"
            self._report.warn(path, "much-memory", message, "lower it, or a call that uses it is killed by the kernel")

    def _sandbox_fits(self, name: str, written: Mapping[str, Any], own: Mapping[str, Any]) -> None:
        """Refuse what level ``trusted`` could only ignore: without a sandbox there is nothing to hold it."""
        if written.get("sandbox", {}).get("level") != "trusted":
            return
        base = ("functions", name)
        inherits = "level" not in own.get("sandbox", {})
        tables = [(base, own), *([(("defaults",), self._defaults)] if inherits else [])]
        hint = 'leave it out, or choose the level "isolated"'
        for place, table in tables:
            ignored = [(*place, "tmp")] if "tmp" in table else []
            ignored += [
                (*place, "sandbox", key) for key in ("network", "read", "write") if key in table.get("sandbox", {})
            ]
            for path in ignored:
                if path[-1] != "network" or table["sandbox"]["network"] is not True:
                    message = f'{dotted(path)} has no effect at the level "trusted", which isolates nothing'
                    self._report.error(path, "bad-sandbox", message, hint, at="key")

    def _look_for_program(self, name: str, code: Code, env: Mapping[str, str | Secret], table: FunctionTable) -> None:
        path = env.get("PATH", PROGRAMS)
        program = lacking(code, path if isinstance(path, str) else path.reveal())
        if program is None:
            return
        message = f"functions.{name} needs {program}, which is not installed here"
        if table.command is not None or table.handler is not None:
            key = "command" if table.command is not None else "handler"
            self._report.warn(("functions", name, key), "no-program", message)
        else:
            problem = Problem(file=code.source, severity="warning", code="no-program", message=message)
            self.problems.append(problem)


@cache
def _host_memory() -> int:
    """Return the bytes of memory of this host, 0 where it does not say."""
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (OSError, ValueError):
        return 0


SHORTER = "lower initial or raise max"
_TABLELESS = ("concurrency", "dead_letters", "idle", "rate", "reuse", "sandbox")
_OF_CODE = frozenset({"handler", "command", "runtime"})


def retry_policy(*written: Mapping[str, Any]) -> RetryPolicy:
    """Return the policy of tables that may have a ``retry``, the later over the earlier."""
    return RetryPolicy(**merge(*(one.get("retry") or {} for one in written)))


def too_long(owner: str, policy: RetryPolicy) -> str:
    """Say that the first wait is longer than the longest."""
    initial, most = units.show_duration(policy.initial), units.show_duration(policy.max)
    return f"{owner}.retry: initial is {initial}, over max, which is {most}"


def _inherited(written: Mapping[str, Any], project: Path) -> Function:
    """Return what a function that has no table takes from ``[defaults]``, as a function without code."""
    code = Code(runtime="python", handler="", command=(), version="", content="", code=Path(), source="")
    return _made("", code, {key: written[key] for key in _TABLELESS if key in written}, [], project)


def _made(name: str, code: Code, written: Mapping[str, Any], beside: Sequence[str], project: Path) -> Function:
    """*beside* names what else than its code makes a version of it."""
    parts = dict(_parts(code, written, project))
    for part in ("version", "content") if beside else ():
        words = "\0".join([parts[part], *beside])
        parts[part] = hashlib.sha256(words.encode()).hexdigest()[: len(code.version)]
    return Function(name=name, **parts)


def _parts(code: Code, written: Mapping[str, Any], project: Path) -> Iterator[tuple[str, Any]]:
    for part in ("runtime", "handler", "command", "interpreter", "needs", "version", "content", "code", "source"):
        yield part, getattr(code, part)
    for key, value in written.items():
        match key:
            case "retry":
                yield key, retry_policy(written)
            case "dead_letters":
                if "keep" in value:
                    yield "dead_letters_keep", value["keep"]
            case "idempotency":
                if value is not None:
                    yield key, Idempotency(**value)
            case "on_success" | "on_failure":
                yield key, tuple(value)
            case "sandbox":
                yield from _sandbox(value, project)
            case _:
                yield key, value


def _sandbox(value: Mapping[str, Any], project: Path) -> Iterator[tuple[str, Any]]:
    if "level" in value:
        yield "level", value["level"]
    if "network" in value:
        network = value["network"]
        yield "network", network if isinstance(network, bool) else tuple(dict.fromkeys(network))
    for part in ("read", "write"):
        yield part, tuple(Path(os.path.normpath(project / path)) for path in value.get(part, ()))
