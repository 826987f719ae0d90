"""Bring a database to the schema of this version, keeping a copy of what it was."""

from __future__ import annotations

import os
import sqlite3
from importlib import resources
from pathlib import Path

from triggerhub.errors import ConfigError
from triggerhub.stores import folder
from triggerhub.stores.fault import translate


def scripts() -> list[tuple[int, str]]:
    """Return the numbered migrations, oldest first."""
    folder = resources.files("triggerhub.stores") / "migrations"
    found = [(int(one.name.split("_")[0]), one.read_text()) for one in folder.iterdir() if one.name.endswith(".sql")]
    return sorted(found)


def migrate(db: sqlite3.Connection, path: Path) -> None:
    """Run what is missing, each migration in a transaction of its own. Raises ConfigError for a newer database."""
    (version,) = db.execute("PRAGMA user_version").fetchone()
    wanted = scripts()
    newest = wanted[-1][0]
    if version > newest:
        raise ConfigError(
            f"{path} was written by a newer triggerhub (schema {version}, this one knows {newest})",
            hint="Run the newer version, or give this project another data folder with [hub] data.",
        )
    if 0 < version < newest:
        copy = path.with_name(f"{path.name}.before-{newest}")
        copy.unlink(missing_ok=True)
        db.execute("VACUUM INTO ?", (str(copy),))
        with copy.open("rb") as file:
            os.fsync(file.fileno())
        folder.sync(copy.parent)
    for number, script in wanted:
        if number > version:
            run(db, number, script)


def upgrade(path: Path) -> tuple[int, int]:
    """Migrate the database at *path*, which nobody else uses; return the schema it was of and is of."""
    db = sqlite3.connect(path, isolation_level=None)
    try:
        (before,) = db.execute("PRAGMA user_version").fetchone()
        migrate(db, path)
        (after,) = db.execute("PRAGMA user_version").fetchone()
    except (sqlite3.Error, OSError) as error:
        raise translate(error) from error
    finally:
        db.close()
    return before, after


def run(db: sqlite3.Connection, number: int, script: str) -> None:
    """Run one migration and note its number in the same transaction."""
    db.execute("BEGIN IMMEDIATE")
    try:
        for statement in statements(script):
            db.execute(statement)
        db.execute(f"PRAGMA user_version = {number}")
        db.execute("COMMIT")
    except BaseException:
        if db.in_transaction:
            db.execute("ROLLBACK")
        raise


def statements(script: str) -> list[str]:
    """Split a script into statements."""
    found, rest = [], ""
    for line in script.splitlines(keepends=True):
        rest += line
        if sqlite3.complete_statement(rest):
            found.append(rest)
            rest = ""
    if rest.strip():
        raise ValueError(f"a migration ends within a statement: {rest.strip()}")
    return found
