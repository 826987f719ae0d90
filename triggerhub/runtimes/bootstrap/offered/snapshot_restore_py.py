"""Register what is run before a snapshot is taken and after it is restored, as in Lambda's Python runtime.

For code that imports Lambda's module of this name and does not bring it: one that is installed is found first.
With ``reuse = "fork"`` the hooks are run; otherwise there is no snapshot, as on Lambda without SnapStart.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

__all__ = ["register_after_restore", "register_before_snapshot"]

_before: list[tuple[Callable[..., Any], tuple[Any, ...], dict[str, Any]]] = []
_after: list[tuple[Callable[..., Any], tuple[Any, ...], dict[str, Any]]] = []


def register_before_snapshot(func: Callable[..., Any], *args: Any, **kwargs: Any) -> Callable[..., Any]:
    """Have *func* called with these arguments once the code is loaded; the last that was registered first.

    Returns *func*, so that it is a decorator, too.
    """
    _before.append((func, args, kwargs))
    return func


def register_after_restore(func: Callable[..., Any], *args: Any, **kwargs: Any) -> Callable[..., Any]:
    """Have *func* called with these arguments before every event, in the order of registration.

    Returns *func*, so that it is a decorator, too.
    """
    _after.append((func, args, kwargs))
    return func


def get_before_snapshot() -> list[tuple[Callable[..., Any], tuple[Any, ...], dict[str, Any]]]:
    """Return what was registered; for the runtime."""
    return _before


def get_after_restore() -> list[tuple[Callable[..., Any], tuple[Any, ...], dict[str, Any]]]:
    """Return what was registered; for the runtime."""
    return _after
