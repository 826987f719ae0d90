"""Make the environment that a handler sees: Lambda's variables, the function's own, and no other.

Nothing of the hub's environment gets in but the region. There are no credentials: a handler that
speaks to AWS is given its own by ``env``, and none is better than a wrong one.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Mapping
from pathlib import Path

from triggerhub.aws import arn
from triggerhub.model import Invocation
from triggerhub.runtimes import egress
from triggerhub.settings import MB, Function, Interpreter, Secret

OPT = "_TRIGGERHUB_OPT"
"""Tells the Python worker, and nobody after it, where the layers are."""
SITE = "_TRIGGERHUB_SITE"
"""And where the packages are that it depends on."""
REUSE = "_TRIGGERHUB_REUSE"
"""And whether it runs each event in a fork."""
_PATH = "/usr/local/bin:/usr/bin:/bin"


def environment(
    function: Function,
    more: Mapping[str, str] | None = None,
    *,
    tmp: str,
    stream: str,
    interpreter: str | None = None,
    api: str | None = None,
    task: str | None = None,
    runtime: str | None = None,
    opt: str | None = None,
) -> dict[str, str]:
    """Return the variables of a worker; the function's own win over *more* too, and here its secrets are revealed.

    *tmp*, *task*, *runtime* and *opt* are where the worker finds its folder, its code, the bootstraps and its
    layers; *stream* names it within its log stream, *api* is the address of its Runtime API. LANG is C.UTF-8,
    which every system has, where Lambda says en_US.UTF-8; both are UTF-8.
    """
    version = function.version or "$LATEST"
    # A published version is a function of its own to the hub: its name is its function's and its number.
    name = function.name.partition(":")[0]
    region = os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION") or arn.REGION
    variables = {
        "AWS_REGION": region,
        "AWS_DEFAULT_REGION": region,
        "AWS_LAMBDA_FUNCTION_NAME": name,
        "AWS_LAMBDA_FUNCTION_VERSION": version,
        "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": str(function.memory // MB),
        "AWS_LAMBDA_INITIALIZATION_TYPE": _initialization(function),
        "AWS_LAMBDA_LOG_GROUP_NAME": f"/aws/lambda/{name}",
        "AWS_LAMBDA_LOG_STREAM_NAME": time.strftime(f"%Y/%m/%d/[{version}]{stream}", time.gmtime()),
        "AWS_XRAY_CONTEXT_MISSING": "LOG_ERROR",
        "LAMBDA_TASK_ROOT": task or str(function.code),
        "LAMBDA_RUNTIME_DIR": runtime or str(Path(__file__).parent / "bootstrap"),
        "LANG": "C.UTF-8",
        "TZ": ":UTC",
        "TMPDIR": tmp,
        **(more or {}),
    }
    if function.runtime != "executable":
        variables["_HANDLER"] = function.handler
    if function.runtime == "python":
        own = f"python{sys.version_info.major}.{sys.version_info.minor}"
        name = function.interpreter.name if function.interpreter else own
        variables["AWS_EXECUTION_ENV"] = f"AWS_Lambda_{name}"
        variables["LC_CTYPE"] = "C.UTF-8"
        if function.reuse == "fork":
            variables[REUSE] = "fork"
    if api is not None:
        variables["AWS_LAMBDA_RUNTIME_API"] = api
    if isinstance(function.network, tuple):
        variables |= egress.variables(function.network)
    return (
        variables
        | _paths(function, task or str(function.code), interpreter, opt or function.opt)
        | reveal(function.env)
    )


def _initialization(function: Function) -> str:
    """Return Lambda's word for how a worker comes to be: each call of a fork begins with what was loaded once."""
    if function.reuse == "fork":
        return "snap-start"
    return "provisioned-concurrency" if function.warm else "on-demand"


def _paths(function: Function, task: str, interpreter: str | None, opt: Path | str | None) -> dict[str, str]:
    """Return where programs, libraries and modules are looked for; *opt* is where the worker finds its layers."""
    programs, libraries, modules = _PATH.split(":"), [task, f"{task}/lib"], [task]
    if interpreter is not None:
        programs.insert(0, str(Path(interpreter).parent))
    if opt is not None and function.opt is not None:
        programs.append(f"{opt}/bin")
        libraries.append(f"{opt}/lib")
        modules[:0] = [f"{opt}/{name}" for name in _node_modules(function.opt, function.interpreter)]
    paths = {"LD_LIBRARY_PATH": ":".join(libraries)}
    if function.runtime == "node":
        paths["NODE_PATH"] = ":".join(modules)
    if function.needs is not None:
        place = function.needs.folder
        own = function.needs.kind == "python"
        programs.insert(0, f"{place}/bin" if own else f"{place}/node_modules/.bin")
        if own:
            paths[SITE if function.runtime == "python" else "PYTHONPATH"] = str(place)
    if function.runtime == "python" and opt is not None:
        paths[OPT] = str(opt)
    return paths | {"PATH": ":".join(programs)}


def _node_modules(opt: Path, chosen: Interpreter | None) -> list[str]:
    """Return where layers keep packages for Node, those for its own version first."""
    pattern = f"node{chosen.version[0]}" if chosen and chosen.version else "node[0-9]*"
    own = [folder.relative_to(opt) for folder in sorted((opt / "nodejs").glob(f"{pattern}/node_modules"))]
    return [*map(str, own), "nodejs/node_modules"]


def of_invocation(invocation: Invocation) -> dict[str, str]:
    """Return what a program, which has no context object, is told of its invocation."""
    variables = {
        "AWS_REQUEST_ID": invocation.request_id,
        "TRIGGERHUB_ATTEMPT": str(invocation.attempt),
        "TRIGGERHUB_DEADLINE_MS": str(invocation.deadline),
        "TRIGGERHUB_FUNCTION_ARN": invocation.arn,
    }
    if invocation.trace is not None:
        variables["_X_AMZN_TRACE_ID"] = invocation.trace
    if invocation.client_context is not None:
        variables["TRIGGERHUB_CLIENT_CONTEXT"] = invocation.client_context
    return variables


def reveal(env: Mapping[str, str | Secret]) -> dict[str, str]:
    """Return the variables with their secrets in the clear."""
    return {name: value.reveal() if isinstance(value, Secret) else value for name, value in env.items()}
