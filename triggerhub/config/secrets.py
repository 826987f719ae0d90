"""Find the values behind references to secrets, and say where they were looked for.

Nothing here puts a value into a message.
"""

from __future__ import annotations

import re
import stat
from collections.abc import Mapping
from pathlib import Path

from triggerhub.errors import ConfigError
from triggerhub.settings import KB, Secret

_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,254}")
_LIMIT = 64 * KB


class SecretNotFoundError(ConfigError):
    """A reference leads to no value."""


class Secrets:
    """A ``source.SecretResolver``: the environment, then systemd's credentials, then ``secrets`` in the data folder.

    ``exposed`` holds a sentence per reference whose file others than its owner may read.
    """

    def __init__(self, project: Path, data: Path, environ: Mapping[str, str]) -> None:
        self._project = project
        self._data = data
        self._environ = environ
        self.exposed: list[tuple[Mapping[str, object], str]] = []

    def resolve(self, reference: Mapping[str, object]) -> Secret:
        """Return the value of ``{ secret = "NAME" }`` or ``{ file = "PATH" }``. SecretNotFoundError otherwise."""
        match dict(reference):
            case {"secret": str(name), **rest} if not rest:
                return self._named(name, reference)
            case {"file": str(path), **rest} if not rest and path:
                return Secret(self._read(self._project / path, path, reference))
        raise SecretNotFoundError('a secret is written { secret = "NAME" } or { file = "PATH" }')

    def _named(self, name: str, reference: Mapping[str, object]) -> Secret:
        if not _NAME.fullmatch(name):
            raise SecretNotFoundError(
                "a secret's name has letters, digits, '_', '-' and '.' only", hint="use { file = … } for a path"
            )
        if name in self._environ:
            return Secret(self._environ[name])
        credentials = self._environ.get("CREDENTIALS_DIRECTORY")
        if credentials and (file := Path(credentials) / name).is_file():
            return Secret(self._read(file, str(file), None))
        kept = self._data / "secrets" / name
        if kept.is_file():
            return Secret(self._read(kept, self._show(kept), reference))
        raise SecretNotFoundError(
            f"secret {name} is not set",
            hint=f"set it in the environment, as a systemd credential, or write it into {self._show(kept)} (mode 0600)",
        )

    def _read(self, file: Path, shown: str, reference: Mapping[str, object] | None) -> str:
        try:
            mode = file.stat().st_mode
            if not stat.S_ISREG(mode):
                raise SecretNotFoundError(f"the secret's file {shown} is not a regular file")
            with file.open("rb") as opened:
                content = opened.read(_LIMIT + 1)
        except OSError as error:
            reason = error.strerror or type(error).__name__
            raise SecretNotFoundError(f"the secret's file {shown} cannot be read: {reason}") from None
        if len(content) > _LIMIT:
            raise SecretNotFoundError(f"the secret's file {shown} is over 64 KB")
        if reference is not None and mode & (stat.S_IRGRP | stat.S_IROTH):
            self.exposed.append((reference, f"{shown} may be read by others than its owner"))
        try:
            # An editor's last newline is not a part of the secret.
            return content.decode().removesuffix("\n").removesuffix("\r")
        except UnicodeDecodeError:
            raise SecretNotFoundError(f"the secret's file {shown} is not UTF-8") from None

    def _show(self, file: Path) -> str:
        return str(file.relative_to(self._project)) if file.is_relative_to(self._project) else str(file)
