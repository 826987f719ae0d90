"""Build the environment of what a function depends on: a read-only folder named by its content.

Built by uv, pip or npm as a process of its own, away from every event. It appears whole or not at all,
and what is there is used again, also by other functions with the same needs.
"""

from __future__ import annotations

import asyncio
import os
import secrets
import shutil
import sys
from collections.abc import Collection, Mapping
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path

import anyio.to_thread

from triggerhub.errors import ConfigError
from triggerhub.runtimes.child import Child
from triggerhub.runtimes.snapshot import remove_tree
from triggerhub.settings import Function, Needs

LIMIT = 1800.0
"""Seconds that one build may take."""
_TOLD = 600
"""How many characters of a tool's last words are shown."""
_PASSED = ("PIP_", "UV_", "NPM_CONFIG_", "npm_config_", "SSL_CERT_")
_NAMES = frozenset({
    "PATH", "HOME", "LANG", "TMPDIR", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "NODE_EXTRA_CA_CERTS", "NETRC",
    "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "no_proxy", "all_proxy",
})  # fmt: skip
_CONTRARY = frozenset({"PIP_USER", "PIP_TARGET", "PIP_PREFIX", "PIP_REQUIRE_VIRTUALENV"})
"""Settings for people, which would put packages elsewhere."""


class Environments:
    """A ``runtime.Environments`` below one folder."""

    def __init__(self, environ: Mapping[str, str] | None = None) -> None:
        given = os.environ if environ is None else environ
        self._environ = {
            name: value
            for name, value in given.items()
            if (name in _NAMES or name.startswith(_PASSED)) and name not in _CONTRARY
        }

    def ready(self, function: Function) -> bool:
        """Whether all is there that the function depends on."""
        return function.needs is None or function.needs.folder.is_dir()

    async def build(self, function: Function) -> None:
        """Build what is missing; a minute is not unusual. Raises ConfigError with the tool's last words.

        Cancelled: the tool is killed with all it started, and nothing is left.
        """
        needs = function.needs
        if needs is None or self.ready(function):
            return
        home = needs.folder.parent
        await anyio.to_thread.run_sync(lambda: home.mkdir(parents=True, exist_ok=True, mode=0o700))
        draft = home / f".{os.getpid()}.{secrets.token_hex(6)}"
        try:
            await anyio.to_thread.run_sync(_lay_out, needs, function, draft)
            command = _command(needs, draft, self._environ.get("PATH"))
            await self._run(command, draft)
            await anyio.to_thread.run_sync(_publish, needs, draft)
        except OSError as error:
            raise ConfigError(f"the environment cannot be written to {home}: {error.strerror or error}") from error
        finally:
            with anyio.CancelScope(shield=True):
                await anyio.to_thread.run_sync(remove_tree, draft)

    async def _run(self, command: list[str], draft: Path) -> None:
        gone: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        said = draft / "said"
        with said.open("wb", buffering=0) as output, Path(os.devnull).open("rb") as nothing:  # noqa: ASYNC230 - local
            child = Child(
                command,
                cwd=draft / "work",
                env=self._environ,
                stdin=nothing.fileno(),
                stdout=output,
                stderr=output,
                exited=lambda status: None if gone.done() else gone.set_result(status),
            )
        child.thorough = True
        try:
            with anyio.move_on_after(LIMIT) as limit:
                await asyncio.shield(gone)
        finally:
            if not gone.done():
                child.kill()
                with anyio.CancelScope(shield=True):
                    await gone
        name = Path(command[0]).name
        tool = name if name in ("uv", "npm") else "pip"
        if limit.cancelled_caught:
            raise ConfigError(f"{tool} was still busy after {LIMIT:.0f} seconds")
        if status := gone.result():
            words = said.read_bytes().decode("utf-8", "replace").strip()
            raise ConfigError(f"{tool} failed with status {status}: {_shortened(words)}")


def _shortened(words: str) -> str:
    lines = [line for line in words.splitlines() if line.strip() and not line.startswith(("WARNING:", "npm warn"))]
    text = "\n".join(lines)
    return text if len(text) <= _TOLD else f"…{text[-_TOLD:]}"


def collect(home: Path, keep: Collection[Path]) -> None:
    """Remove every environment below *home* that is not in *keep*, and drafts that another process left."""
    for folder in home.iterdir() if home.is_dir() else ():
        if folder not in keep and not folder.name.startswith(f".{os.getpid()}."):
            remove_tree(folder)


def _lay_out(needs: Needs, function: Function, draft: Path) -> None:
    """Copy the code to where the tool works, so that paths within it lead where they should."""
    draft.mkdir(mode=0o700)
    # A link of that name leads to what is to be built.
    shutil.copytree(function.code, draft / "work", ignore=shutil.ignore_patterns("node_modules"))
    for folder, _, names in os.walk(draft / "work"):
        for path in (Path(folder), *(Path(folder, name) for name in names)):
            path.chmod(path.stat().st_mode | 0o600 | (0o100 if path.is_dir() else 0))
    if needs.kind == "python":
        lines = [*needs.packages, *(["-r requirements.txt"] if needs.file else [])]
        (draft / "work" / "requirements.triggerhub.txt").write_text("".join(f"{line}\n" for line in lines))


def _command(needs: Needs, draft: Path, path: str | None) -> list[str]:
    if needs.kind == "node":
        npm = shutil.which("npm", path=path)
        if npm is None:
            raise ConfigError("npm is not installed here", hint="install it, or put node_modules into the folder")
        locked = (draft / "work" / "package-lock.json").is_file()
        words = ["ci"] if locked else ["install", "--install-links", "--no-package-lock", "--no-save"]
        return [npm, *words, "--omit=dev", "--no-audit", "--no-fund", "--loglevel=error"]
    target = ["--target", str(draft / "made"), "-r", "requirements.triggerhub.txt"]
    program = needs.program or sys.executable
    if uv := shutil.which("uv", path=path):
        return [uv, "pip", "install", "--quiet", "--compile-bytecode", "--python", program, *target]
    if find_spec("pip") is None:
        hint = "install uv, or pip into the hub's own environment"
        raise ConfigError("neither uv nor pip is installed here", hint=hint)
    options = ["--no-input", "--disable-pip-version-check", "--no-warn-script-location", "--root-user-action=ignore"]
    # The hub's own pip installs for another interpreter, which may have none.
    return [sys.executable, "-I", "-m", "pip", "--python", program, "install", "--quiet", *options, *target]


def _resolve_links(modules: Path) -> None:
    """Put packages of the function's own code, to which npm only links, in the place of their links."""
    for path in (*modules.glob("*"), *modules.glob("@*/*")):
        if path.is_symlink() and not path.resolve().is_relative_to(modules.resolve()):
            real = path.resolve()
            path.unlink()
            shutil.copytree(real, path, symlinks=True)


def _publish(needs: Needs, draft: Path) -> None:
    """Make the result read-only, durable and visible, in this order."""
    made = draft / "made"
    made.mkdir(exist_ok=True)
    if needs.kind == "node":
        modules = draft / "work" / "node_modules"
        modules.mkdir(exist_ok=True)
        _resolve_links(modules)
        modules.rename(made / "node_modules")
    for parent, _, names in os.walk(made):
        for path in (Path(parent, name) for name in names):
            if not path.is_symlink():
                path.chmod(0o555 if path.stat().st_mode & 0o111 else 0o444)
        Path(parent).chmod(0o555)
    os.sync()
    made.chmod(0o755)
    with suppress(OSError):
        # Another was first with the same content.
        made.rename(needs.folder)
    needs.folder.chmod(0o555)
