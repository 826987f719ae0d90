"""A worker's own variables stay its own, and one variable has no more in it than a program is started with."""

from __future__ import annotations

import subprocess

import pytest

from triggerhub.policy.variables import LONGEST, reserved, reserved_at_aws
from triggerhub.runtimes.environment import OPT, REUSE, SITE


@pytest.mark.parametrize("name", ["_HANDLER", "AWS_LAMBDA_RUNTIME_API", OPT, REUSE, SITE])
def test_what_tells_a_worker_who_it_is_is_not_the_functions_to_set(name: str) -> None:
    assert reserved(name)


@pytest.mark.parametrize(
    "name", ["TZ", "LANG", "PATH", "NODE_PATH", "PYTHONPATH", "AWS_ACCESS_KEY_ID", "AWS_LAMBDA_EXEC_WRAPPER", "TMPDIR"]
)
def test_what_lambda_lets_a_function_set_is_not_reserved(name: str) -> None:
    assert not reserved(name)


def test_a_region_is_a_projects_to_set_and_not_the_apis() -> None:
    assert [one("AWS_REGION") for one in (reserved, reserved_at_aws)] == [False, True]


def test_linux_starts_a_program_with_the_longest() -> None:
    subprocess.run(["/bin/true"], env={"A": "x" * LONGEST}, check=True)
