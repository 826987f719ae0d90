"""Keep configurations of one kind: at most one for each qualifier of a function."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, Generic, Literal, TypeAlias, TypeVar

from triggerhub.aws.restjson import ApiError
from triggerhub.deploy.record import Deployed, EventConfig, Provisioned, Url
from triggerhub.deploy.registry import Registry
from triggerhub.web.lambda_api.functions import Functions, there

T = TypeVar("T", EventConfig, Provisioned, Url)
Member: TypeAlias = Literal["events", "provisioned", "urls"]


class Qualified(Generic[T]):
    """The configurations of one kind of all functions that were made by the API."""

    def __init__(
        self, functions: Functions, registry: Registry, member: Member, absent: Callable[[str, str], ApiError]
    ) -> None:
        """*member* is where a function's record has them; *absent* makes the error where a qualifier has none."""
        self._functions = functions
        self._registry = registry
        self._member = member
        self._absent = absent

    def _of(self, deployed: Deployed) -> Mapping[str, T]:
        found: Mapping[str, T] = getattr(deployed, self._member)
        return found

    def get(self, name: str, qualifier: str) -> T:
        """Return one. Raises ApiError."""
        deployed = self._functions.deployed(name)
        found = None if deployed is None else self._of(deployed).get(qualifier)
        if found is None:
            raise self._absent(name, qualifier)
        return found

    def rows(self, name: str) -> list[tuple[str, T]]:
        """Return all of a function, by their qualifiers. Raises ApiError where there is no such function."""
        self._functions.shown(name, None)
        deployed = self._functions.deployed(name)
        return [] if deployed is None else sorted(self._of(deployed).items())

    async def put(self, name: str, qualifier: str, make: Callable[[Deployed, T | None], T]) -> T:
        """Put in its place, durably, what *make* makes of the function and of the one before; returns it.

        Whatever *make* raises leaves everything as it was. Raises ApiError for a function that the API may not change.
        """
        self._functions.changeable(name)

        def change(before: Deployed | None) -> Deployed:
            current = there(before, name)
            held = self._of(current)
            return self._with(current, {**held, qualifier: make(current, held.get(qualifier))})

        changed = await self._registry.change(name, change)
        assert changed is not None
        return self._of(changed)[qualifier]

    async def update(self, name: str, qualifier: str, make: Callable[[Deployed, T], T]) -> T:
        """As :meth:`put`, of one that is there. Raises ApiError where it is not."""

        def made(current: Deployed, before: T | None) -> T:
            if before is None:
                raise self._absent(name, qualifier)
            return make(current, before)

        return await self.put(name, qualifier, made)

    async def delete(self, name: str, qualifier: str, check: Callable[[Deployed], None] | None = None) -> None:
        """Remove one, durably. Where *check* is given, it decides whether one that is not there may be removed."""
        self._functions.changeable(name)

        def change(before: Deployed | None) -> Deployed:
            current = there(before, name)
            held = self._of(current)
            if check is not None:
                check(current)
            elif qualifier not in held:
                raise self._absent(name, qualifier)
            return self._with(current, {key: one for key, one in held.items() if key != qualifier})

        await self._registry.change(name, change)

    def _with(self, deployed: Deployed, kept: Mapping[str, T]) -> Deployed:
        changed: dict[str, Any] = {self._member: kept}
        return replace(deployed, **changed)
