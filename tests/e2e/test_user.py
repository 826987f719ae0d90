"""``[hub] user``: root starts the hub, which is somebody else before it listens, and keeps only the launcher."""

from __future__ import annotations

import json
import os
import pwd
import re
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.daemon import Daemon, until
from tests.e2e.toml import HUB
from tests.runtimes.attacks import ordinary
from tests.runtimes.attacks.world import named
from tests.runtimes.test_dependencies import wheel

NAME = f"hub-{os.getpid()}"
SLOW = f"61.{os.getpid()}"
TOML = (
    HUB
    + """
user = "%s"
[functions.slow]
timeout = "1s"
[functions.plain]
sandbox = { level = "trusted" }
[functions.told]
env = { TOKEN = { secret = "TOKEN" } }
sandbox = { read = ["shown"] }
"""
)
WHO = """
import os
def handler(event, context):
    status = dict(line.split(":", 1) for line in open("/proc/self/status"))
    return {"uid": os.getuid(), "map": open("/proc/self/uid_map").read().split(), "bounding": status["CapBnd"].strip()}
"""
HANDLERS = {
    "who.py": WHO,
    "plain.py": "import os\ndef handler(event, context): return [os.getuid(), os.getgroups()]\n",
    "slow.py": f"import subprocess\ndef handler(event, context): subprocess.run(['sleep', '{SLOW}'])\n",
    "told.py": "import os\ndef handler(event, context): return [os.environ['TOKEN'], os.listdir(event['folder'])]\n",
}


@pytest.fixture(scope="module")
def account() -> Iterator[pwd.struct_passwd]:
    if os.geteuid() != 0:
        pytest.skip("only root becomes another user")
    add, remove = (shutil.which(name, path=f"{os.environ['PATH']}:/usr/sbin:/sbin") for name in ("useradd", "userdel"))
    if add is None or remove is None:
        pytest.skip("useradd is missing: apt install passwd")
    if why := ordinary.why_not():
        pytest.skip(why)
    subprocess.run([add, "--system", "--no-create-home", NAME], check=True)
    try:
        yield pwd.getpwnam(NAME)
    finally:
        subprocess.run([remove, NAME], check=True)


@pytest.fixture
def hub(account: pwd.struct_passwd) -> Iterator[Daemon]:
    """A project of the user's own; not in pytest's folder, which only its owner enters."""
    python = ordinary.interpreter()
    assert python is not None
    with tempfile.TemporaryDirectory(prefix="user-") as folder:
        Path(folder).chmod(0o755)
        project = Path(folder) / "project"
        (project / "var" / "secrets").mkdir(parents=True)
        (project / "shown").mkdir()
        (project / "var" / "secrets" / "TOKEN").write_text("t0ken")
        (project / "var" / "secrets" / "TOKEN").chmod(0o600)
        hub = Daemon(
            project, python=python, environ={"PYTHONPATH": f"{ordinary.ROOT}:{ordinary.packages()}", "HOME": "/root"}
        )
        hub.write(TOML % NAME, HANDLERS)
        subprocess.run(["chown", "-R", f"{NAME}:", str(project)], check=True)
        project.chmod(0o755)
        try:
            yield hub
        finally:
            if hub.alive:
                hub.kill()


def call(hub: Daemon, function: str, event: Any = None) -> Any:
    done = hub.cli("invoke", function, "-d", json.dumps(event))
    assert done.returncode == 0, done.stderr + hub.log()
    return json.loads(done.stdout)


def status(pid: int) -> dict[str, str]:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return {name: value.strip() for name, value in (line.split(":", 1) for line in lines)}


def roots(hub: Daemon, word: str) -> list[int]:
    """Return the processes of this name that were started by this hub."""
    found = []
    for path in Path("/proc").glob("[0-9]*/environ"):
        try:
            if (path.parent / "comm").read_text().strip() == word and hub.process is not None:
                above = int(status(int(path.parent.name))["PPid"])
                if hub.process.pid in (above, int(status(above)["PPid"])):
                    found.append(int(path.parent.name))
        except (OSError, KeyError, ValueError):
            continue
    return found


def folders_of(account: pwd.struct_passwd) -> list[Path]:
    """Return the folders of control groups that were made for this user."""
    return list(Path("/sys/fs/cgroup").glob(f"*/**/triggerhub-{account.pw_uid}-*"))


def test_only_the_launcher_stays_root(hub: Daemon, account: pwd.struct_passwd) -> None:
    hub.start()
    assert hub.process is not None
    shown = subprocess.run(
        ["ps", "-o", "uid=,gid=", "-p", str(hub.process.pid)], capture_output=True, text=True, check=True
    )
    assert shown.stdout.split() == [str(account.pw_uid), str(account.pw_gid)]
    own = status(hub.process.pid)
    assert own["Uid"].split() == [str(account.pw_uid)] * 4
    assert own["Gid"].split() == [str(account.pw_gid)] * 4
    assert own["Groups"].split() == [str(account.pw_gid)]
    assert {own[name] for name in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb")} == {"0" * 16}
    assert own["NoNewPrivs"] == "1"
    for task in Path(f"/proc/{hub.process.pid}/task").iterdir():
        assert f"Uid:\t{account.pw_uid}\t" in (task / "status").read_text()
    found = call(hub, "who")
    assert found["uid"] == 1000
    assert 400_000 <= int(found["map"][1]) < 500_000
    assert found["bounding"] == "0" * 16
    assert [int(status(pid)["Uid"].split()[0]) for pid in roots(hub, "triggerhub-laun")] == [0]
    assert [int(status(pid)["Uid"].split()[0]) for pid in roots(hub, "triggerhub-keep")] == [0]
    assert call(hub, "plain") == [account.pw_uid, [account.pw_gid]]
    assert {path.lstat().st_uid for path in (hub.project / "var").rglob("*")} == {account.pw_uid}


def test_its_doctor_does_not_take_root_s_launcher_for_its_own(hub: Daemon, account: pwd.struct_passwd) -> None:
    hub.start()
    who = ["setpriv", f"--reuid={account.pw_uid}", f"--regid={account.pw_gid}", "--clear-groups"]
    command = [*who, hub.python, "-m", "triggerhub", "-C", str(hub.project), "doctor", "--json"]
    done = subprocess.run(
        command, env={**os.environ, **hub.environ}, capture_output=True, text=True, check=False, cwd=ordinary.ROOT
    )
    (found,) = [one for one in json.loads(done.stdout) if one["name"] == "isolation"]
    assert (found["verdict"], "by root" in found["found"]) == ("good", True)
    (found,) = [one for one in json.loads(hub.cli("doctor", "--json").stdout) if one["name"] == "isolation"]
    assert "by root" not in found["found"]


def test_a_secret_is_the_hubs_and_the_handlers_that_names_it(hub: Daemon) -> None:
    hub.start()
    (hub.project / "shown").chmod(0o755)
    assert call(hub, "told", {"folder": str(hub.project / "shown")}) == ["t0ken", []]
    done = hub.cli("invoke", "told", "-d", json.dumps({"folder": str(hub.project / "var")}))
    assert done.returncode == 1
    assert "FileNotFoundError" in done.stderr
    hub.stop()
    os.chown(hub.project / "var" / "secrets" / "TOKEN", 0, 0)
    hub.start(ready=False)
    assert hub.process is not None
    assert hub.process.wait(30) == 3
    assert "cannot be read: Permission denied" in hub.log()


def test_it_reloads_times_out_and_shows_nothing_new(hub: Daemon) -> None:
    hub.start()
    done = hub.cli("invoke", "slow")
    assert done.returncode == 1
    assert "Sandbox.Timedout" in done.stderr
    until(lambda: not named(SLOW), "the timed out worker and its child are gone")
    (hub.project / "handlers" / "who.py").write_text("def handler(event, context): return 'new'\n")
    until(lambda: call(hub, "who") == "new", "the new version answers")
    outside = hub.project.parent / "outside"
    outside.mkdir()
    toml = hub.project / "triggerhub.toml"
    toml.write_text(toml.read_text() + f'[functions.who]\nsandbox = {{ read = ["{outside}"] }}\n')
    until(lambda: hub.cli("invoke", "who").returncode == 1, "the new path is not shown")
    done = hub.cli("invoke", "who")
    assert f"{outside} may not be shown" in done.stderr
    assert "start the hub again" in done.stderr
    hub.stop()
    hub.start()
    assert call(hub, "who") == "new"


def test_what_a_build_leaves_is_the_hubs_or_gone(hub: Daemon, account: pwd.struct_passwd) -> None:
    folder = hub.project / "handlers" / "dep"
    wheel(folder / "wheels", "mylib")
    (folder / "requirements.txt").write_text("./wheels/mylib-1.0-py3-none-any.whl\n")
    (folder / "main.py").write_text("import mylib\ndef handler(event, context): return mylib.__file__\n")
    subprocess.run(["chown", "-R", f"{NAME}:", str(folder)], check=True)
    hub.start()
    until(lambda: hub.cli("invoke", "dep").returncode == 0, f"its packages are there: {hub.log()}")
    places = list((hub.project / "var" / "environments").iterdir())
    assert len(places) == 1, places
    assert {path.lstat().st_uid for path in places[0].rglob("*")} == {account.pw_uid}


def test_it_drains_and_leaves_nothing(hub: Daemon, account: pwd.struct_passwd) -> None:
    hub.start()
    call(hub, "who")
    assert ("contained" in hub.cli("functions", "show", "who").stdout) == bool(folders_of(account))
    left = [*roots(hub, "triggerhub-keep"), *roots(hub, "triggerhub-laun")]
    assert len(left) == 2
    assert hub.stop() == 0
    until(lambda: not any(Path(f"/proc/{pid}").exists() for pid in left), "all that was root is gone")
    assert not folders_of(account), "control groups and all"


@pytest.mark.parametrize("word", ["triggerhub-laun", "hub"])
def test_what_is_killed_takes_its_own_along(hub: Daemon, account: pwd.struct_passwd, word: str) -> None:
    hub.start()
    call(hub, "who")
    kept, (launcher,) = roots(hub, "triggerhub-keep"), roots(hub, "triggerhub-laun")
    if word == "hub":
        hub.kill()
        until(lambda: not any(Path(f"/proc/{pid}").exists() for pid in (*kept, launcher)), "root's processes are gone")
        assert not folders_of(account)
        return
    os.kill(launcher, signal.SIGKILL)
    until(lambda: roots(hub, word) not in ([], [launcher]), "another launcher is there")
    assert call(hub, "who")["uid"] == 1000
    assert roots(hub, "triggerhub-keep") == kept


def test_what_it_cannot_enter_is_refused_with_what_mends_it(hub: Daemon) -> None:
    subprocess.run(["chown", "-R", "root:", str(hub.project)], check=True)
    hub.project.chmod(0o700)
    for _ in range(4):
        done = hub.cli("check")
        if done.returncode == 0:
            done = hub.cli("invoke", "--local", "who")
        if done.returncode == 0:
            break
        assert done.returncode == 3, done.stderr
        found = re.search(r"(chown -R \S+ \S+|install -d [^\n]*?/var|chmod a\+x [^,\s]+)", done.stderr)
        assert found is not None, done.stderr
        assert NAME in found[1]
        subprocess.run(found[1].split(), check=True)
    assert json.loads(done.stdout)["uid"] == 1000


@pytest.mark.parametrize(
    ("user", "says"),
    [
        ("nobody-of-that-name", "there is no user"),
        ("root", "is root, which is what the hub gives up"),
    ],
)
def test_whom_it_cannot_become(hub: Daemon, user: str, says: str) -> None:
    hub.write(TOML % user, HANDLERS)
    for command in ("check", "run"):
        done = hub.cli(command)
        assert done.returncode == 3
        assert "triggerhub.toml:5:8: error[bad-user]: hub.user: " in done.stderr
        assert says in done.stderr


def test_an_ordinary_user_becomes_nobody_else(tmp_path: Path) -> None:
    (tmp_path / "triggerhub.toml").write_text('[hub]\nuser = "root-of-another"\n')
    code = """
import os, pwd, sys
from pathlib import Path
from triggerhub.config.load import load
os.geteuid = lambda: 61777
pwd.getpwnam = lambda name: pwd.struct_passwd((name, "x", 1234, 1234, "", "/", "/bin/sh"))
print(*load(Path(sys.argv[1]), environ={}).problems)
"""
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, check=True, cwd=ordinary.ROOT
    )
    assert 'the hub is uid 61777\'s, who cannot become "root-of-another"' in done.stdout
    assert "start it as root or as root-of-another, or leave user out" in done.stdout
