"""Call the hooks of a source's module: anybody's code, so that what goes wrong there names the source and the place."""

from __future__ import annotations

import traceback
from pathlib import Path
from types import ModuleType
from typing import Any, TypeVar

from triggerhub.errors import SourceFailed, TriggerhubError

T = TypeVar("T")


def ask(module: ModuleType, hook: str, kind: type[T], *given: Any) -> T:
    """Return what a hook returns. SourceFailed; an error that is meant for a user passes."""
    try:
        answer = getattr(module, hook)(*given)
    except (Exception, SystemExit) as error:
        raise failure(module, hook, error) from error
    return expect(module, hook, kind, answer)


def ask_all(module: ModuleType, hook: str, kind: type[T], *given: Any) -> list[T]:
    """Return all that a hook yields. SourceFailed; an error that is meant for a user passes."""
    try:
        answers = list(getattr(module, hook)(*given))
    except (Exception, SystemExit) as error:
        raise failure(module, hook, error) from error
    return [expect(module, hook, kind, answer) for answer in answers]


def expect(module: ModuleType, hook: str, kind: type[T], answer: object) -> T:
    """Return what a hook returned, or a part of it. SourceFailed where it is no *kind*."""
    if isinstance(answer, kind):
        return answer
    what = f"it returned {type(answer).__name__}, expected {kind.__name__}"
    raise SourceFailed(_name(module), hook, what, place=_place(module, hook))


def failure(module: ModuleType, hook: str, error: BaseException) -> TriggerhubError:
    """Return what is told of an error that a hook raised."""
    if isinstance(error, TriggerhubError):
        return error
    return SourceFailed(_name(module), hook, type(error).__name__, str(error), place=_place(module, hook, error))


def _place(module: ModuleType, hook: str, error: BaseException | None = None) -> str:
    """Return the file and line in the source's folder that an error came from, else those where the hook begins."""
    begins = getattr(getattr(module, hook), "__code__", None)
    found = [(begins.co_filename, begins.co_firstlineno)] if begins else []
    if error is not None and (file := getattr(module, "__file__", None)):
        steps = [(frame.f_code.co_filename, line) for frame, line in traceback.walk_tb(error.__traceback__)]
        found += [step for step in steps if Path(step[0]).is_relative_to(Path(file).parent)]
    return f"{Path(found[-1][0]).name}:{found[-1][1]}" if found else ""


def _name(module: ModuleType) -> str:
    return module.__name__.removeprefix("sources.")
