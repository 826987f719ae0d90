"""Make the project's triggers of their tables: the common keys here, the rest by their source's own options."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Iterator, Mapping
from types import ModuleType
from typing import Any

from pydantic import ValidationError

from triggerhub import hooks, ids
from triggerhub.config.complain import coerced, complain, suggestion, validate
from triggerhub.config.fitting import retry_policy, too_long
from triggerhub.config.functions import Functions
from triggerhub.config.locate import Path as Place
from triggerhub.config.plugins import PluginError, Plugins
from triggerhub.config.problem import Report, dotted
from triggerhub.config.schema import COMMON, given
from triggerhub.config.schema import Trigger as TriggerTable
from triggerhub.config.values import NAME
from triggerhub.errors import SourceFailed, TriggerhubError
from triggerhub.model import API_TRIGGER
from triggerhub.policy import filtering, selecting
from triggerhub.settings import Batch, RetryPolicy, Trigger
from triggerhub.source import Finding, Options


class Triggers:
    """Builds every trigger of a project; ``made`` holds them by name, None where one has errors."""

    def __init__(
        self,
        report: Report,
        plugins: Plugins | None,
        functions: Functions,
        names: Collection[str],
        context: Mapping[str, Any],
    ) -> None:
        """*names* are all functions there are, also those that are not of the configuration."""
        self._report = report
        self._plugins = plugins
        self._functions = functions
        self._names = names
        self._context = context
        """What the validators of options may look at: ``secrets``, ``project`` and ``data``."""
        self.made: dict[str, Trigger | None] = {}
        self.sources: dict[str, ModuleType] = {}
        """The modules in use, by type."""

    def build(self, tables: Mapping[str, Any]) -> None:
        """Build the triggers."""
        for name, raw in tables.items():
            self.made[name] = None
            if not NAME.fullmatch(name) or name == API_TRIGGER:
                message = f"{name!r} cannot be a trigger's name: letters, digits, '-' and '_', at most 64"
                if name == API_TRIGGER:
                    message = "\"api\" cannot be a trigger's name: the hub's own trigger of direct calls has it"
                self._report.error(("triggers", name), "bad-name", message, at="key")
            elif not isinstance(raw, dict):
                validate(TriggerTable, raw, ("triggers", name), self._report, self._context["secrets"])
            else:
                self.made[name] = self._trigger(name, raw)

    def _trigger(self, name: str, raw: dict[str, Any]) -> Trigger | None:
        base = ("triggers", name)
        before = len(self._report.problems)
        common = {key: value for key, value in raw.items() if key in COMMON}
        table = validate(TriggerTable, common, base, self._report, self._context["secrets"])
        type_ = raw.get("type")
        module = self._module(name, type_) if isinstance(type_, str) and type_ else None
        rest = {key: value for key, value in raw.items() if key not in COMMON}
        options = self._options(module, rest, base) if module else None
        if table is None:
            return None
        functions = self._joined(name, table, raw)
        written = given(table)
        self._paths(name, written)
        self._batch_fits(name, table, module)
        retry = self._retry(name, functions, written)
        if module is None or options is None:
            return None
        trigger = Trigger(
            name=name,
            type=table.type,
            functions=functions,
            options=options,
            batch=Batch(**{"size": getattr(module, "batch_size", 1), **written.get("batch", {})}),
            input=self._input(name, written),
            retry=retry,
            on_failure=None if table.on_failure is None else tuple(table.on_failure),
            ack=written.get("ack", acks_of(module)[0]),
            written=frozenset(_keys(written)),
            **{key: written[key] for key in _AS_WRITTEN if key in written},
        )
        self._acknowledged(trigger, table, module)
        # Also of one with errors, so that the next look at it finds none that this one could have told.
        self._findings(module, options, trigger, sound=bool(functions) and not self._has_errors(before))
        return None if not functions or self._has_errors(before) else trigger

    def _has_errors(self, before: int) -> bool:
        return any(problem.severity == "error" for problem in self._report.problems[before:])

    def _module(self, name: str, type_: str) -> ModuleType | None:
        if self._plugins is None:
            return None
        try:
            module = self._plugins.load(type_)
        except PluginError as error:
            path = ("triggers", name, "type")
            self._report.error(path, error.code, f"triggers.{name}.type: {error.message}", error.hint)
            return None
        self.sources[type_] = module
        return module

    def _options(self, module: ModuleType, rest: dict[str, Any], base: Place) -> Options | None:
        model: type[Options] = module.Options
        wrong = coerced(model, rest, base, self._report)
        try:
            options = model.model_validate(rest, context=dict(self._context))
        except ValidationError as error:
            complain(error, rest, [model, TriggerTable], base, self._report)
            return None
        except Exception as error:
            self._broke(base, hooks.failure(module, "Options", error))
            return None
        return None if wrong else options

    def _joined(self, name: str, table: TriggerTable, raw: Mapping[str, Any]) -> tuple[str, ...]:
        """Return the functions that a trigger starts, those with errors of their own included."""
        base = ("triggers", name)
        if any(key in raw and getattr(table, key) is None for key in ("function", "functions")):
            return ()  # said already
        if (table.function is None) == (table.functions is None):
            which = "both function and functions" if table.function else 'no function: write function = "NAME"'
            self._report.error(base, "bad-functions", f"triggers.{name} has {which}", at="key")
            return ()
        names = table.functions or [table.function or ""]
        if len(names) > ids.MAX_FAN_OUT:
            message = f"triggers.{name}.functions has {len(names)}, at most {ids.MAX_FAN_OUT} are allowed"
            self._report.error((*base, "functions"), "bad-functions", message)
            return ()
        for index, function in enumerate(names):
            path = (*base, "functions", index) if table.functions else (*base, "function")
            if function not in self._names:
                message = f'{dotted(path)}: there is no function "{function}"'
                self._report.error(path, "unknown-function", message, suggestion(function, self._names))
            elif function in names[:index]:
                self._report.error(path, "bad-functions", f'{dotted(path)}: "{function}" is in the list twice')
        return tuple(name for name in names if name in self._names)

    def _paths(self, name: str, written: Mapping[str, Any]) -> None:
        """Compile what reads records, so that a mistake is found here and not by the first event."""
        for key in ("key", "order"):
            if isinstance(expression := written.get(key), str):
                try:
                    selecting.compile(expression)
                except ValueError as error:
                    self._report.error(("triggers", name, key), "bad-key", f"triggers.{name}.{key}: {error}")
        if (pattern := written.get("filter")) is not None:
            try:
                filtering.compile(pattern)
            except filtering.PatternError as error:
                path = ("triggers", name, "filter", *error.path)
                self._report.error(path, "bad-filter", f"{dotted(path)}: {error.message}", error.hint)

    def _batch_fits(self, name: str, table: TriggerTable, module: ModuleType | None) -> None:
        path, batch = ("triggers", name, "batch"), table.batch
        size = batch.size if "size" in batch.model_fields_set else getattr(module, "batch_size", 1)
        if batch.window and size == 1:
            message = f"triggers.{name}.batch: a window needs a size over 1 to fill"
            self._report.error((*path, "window"), "bad-batch", message)
        if batch.partial_failures and module is not None and not hasattr(module, "identifier"):
            message = f'triggers.{name}.batch: records of type "{table.type}" have no identifier to report as failed'
            self._report.error((*path, "partial_failures"), "bad-batch", message, "leave partial_failures out")
        elif batch.partial_failures and table.input is not None:
            message = f"triggers.{name}.batch: with input the handler sees no records, and could name none as failed"
            self._report.error((*path, "partial_failures"), "bad-batch", message, "leave partial_failures or input out")

    def _acknowledged(self, trigger: Trigger, table: TriggerTable, module: ModuleType) -> None:
        """Report an ``ack`` that the source has not, and what does not go with "handled"."""
        path, acks = ("triggers", trigger.name), acks_of(module)
        if trigger.ack not in acks:
            message = (
                f'triggers.{trigger.name}.ack: the source "{trigger.type}" has no "{trigger.ack}"; it has '
                f"{' and '.join(map(json.dumps, acks))}"
            )
            self._report.error((*path, "ack"), "bad-ack", message, "leave ack out")
        elif trigger.ack == "handled":
            if len(trigger.functions) > 1:
                message = f'triggers.{trigger.name}.functions: ack = "handled" waits for one function, not for several'
                self._report.error((*path, "functions"), "bad-ack", message, 'name one, or use ack = "stored"')
            for key, why in _UNQUEUED.items():
                if key in trigger.written:
                    message = f'triggers.{trigger.name}.{key}: with ack = "handled" {why}'
                    self._report.error((*path, key), "bad-ack", message, f'leave {key} out, or use ack = "stored"')

    def _retry(self, name: str, functions: Iterable[str], written: Mapping[str, Any]) -> dict[str, RetryPolicy]:
        """Merge the trigger's retry over each function's; only where the trigger has one."""
        policies: dict[str, RetryPolicy] = {}
        for function in functions if written.get("retry") else ():
            policy = retry_policy(self._functions.given.get(function, self._functions.inherited), written)
            if policy.initial > policy.max:
                path = ("triggers", name, "retry", "initial")
                self._report.error(
                    path, "bad-retry", too_long(f"triggers.{name}", policy), "lower initial or raise max"
                )
            policies[function] = policy
        return policies

    def _input(self, name: str, written: Mapping[str, Any]) -> bytes | None:
        if "input" not in written:
            return None
        try:
            text = json.dumps(written["input"], ensure_ascii=False, allow_nan=False, separators=(",", ":"))
        except (TypeError, ValueError):
            message = f"triggers.{name}.input: dates, times, inf and nan are not JSON"
            self._report.error(("triggers", name, "input"), "bad-value", message, "write them as texts in quotes")
            return None
        return text.encode()

    def _findings(self, module: ModuleType, options: Options, trigger: Trigger, *, sound: bool) -> None:
        base = ("triggers", trigger.name)
        try:
            findings = hooks.ask_all(module, "check", Finding, options, trigger) if hasattr(module, "check") else []
        except TriggerhubError as error:
            if sound:
                self._broke(base, error)
            return
        for finding in findings:
            path = (*base, finding.option) if finding.option else base
            if finding.warning:
                self._report.warn(path, finding.code, finding.message, finding.hint)
            else:
                message = finding.message.removeprefix(f"{dotted(path)}: ")
                self._report.error(path, finding.code, f"{dotted(path)}: {message}", finding.hint)

    def _broke(self, base: Place, error: TriggerhubError) -> None:
        # The words of what it raised may hold a secret that the plug-in was given.
        message = error.bare if isinstance(error, SourceFailed) else error.message
        self._report.error((*base, "type"), "bad-source", f"{dotted(base)}: {message}", error.hint)


def acks_of(module: ModuleType) -> tuple[str, ...]:
    """Return the ``ack`` that a source serves, its default first."""
    acks: tuple[str, ...] = getattr(module, "acks", ("stored",))
    return acks


def _keys(written: Mapping[str, Any], above: str = "") -> Iterator[str]:
    for key, value in written.items():
        yield above + key
        if isinstance(value, dict) and key in ("batch", "retry"):
            yield from _keys(value, f"{key}.")


_UNQUEUED = {"order": "the source keeps the order", "backlog": "nothing is queued here"}
"""Keys that have no use without a queue."""
_AS_WRITTEN = ("enabled", "filter", "key", "keep", "order", "backlog", "maximum_concurrency")
