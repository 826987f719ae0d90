"""Become the launcher: executed as ``python -I main.py DESCRIPTOR RUNTIME``, RUNTIME the bootstraps' folder.

With ``keep`` behind them it becomes what keeps root for launchers; with ``within`` it is in a user namespace of its own
already, and makes no other.
"""

import importlib.util
import os
import sys

_HERE = os.path.dirname(os.path.abspath(__file__))


def _launcher() -> None:
    # By place, not by name: nothing is added to the path that handlers will import from.
    spec = importlib.util.spec_from_file_location(
        "launcher", f"{_HERE}/__init__.py", submodule_search_locations=[_HERE]
    )
    assert spec is not None
    assert spec.loader is not None
    package = importlib.util.module_from_spec(spec)
    sys.modules["launcher"] = package
    spec.loader.exec_module(package)
    module = "launcher.keep" if "keep" in sys.argv[3:] else "launcher.serve"
    more = {"within": True} if "within" in sys.argv[3:] else {}
    serving = importlib.import_module(module)
    # What this is made of is kept compiled, for another one that is waited for; what handlers import is not.
    sys.dont_write_bytecode = True
    serving.main(int(sys.argv[1]), sys.argv[2], **more)


if __name__ == "__main__":
    _launcher()
