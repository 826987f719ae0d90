"""Where functions are users of their own and no mount leads to what is theirs, the hub lets them pass, or says where not."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from triggerhub.runtimes import reach


def test_the_hubs_own_folders_are_opened_for_passing_through_alone(tmp_path: Path) -> None:
    data = tmp_path / "var"
    code = data / "versions" / "f" / "abc"
    code.mkdir(parents=True)
    outside = [tmp_path, *tmp_path.parents]
    before = {folder: folder.stat().st_mode for folder in outside}
    for folder in (data, data / "versions", code.parent):
        folder.chmod(0o700)
    closed = next((folder for folder in reversed(outside) if folder.stat().st_mode & 0o011 != 0o011), None)
    if closed is None:
        reach.let_through(code, data)
    else:
        with pytest.raises(reach.OutOfReach) as told:
            reach.let_through(code, data)
        assert f"chmod a+x {next(one for one in outside if one.stat().st_mode & 0o011 != 0o011)}" in str(told.value)
    assert [folder.stat().st_mode & 0o777 for folder in (data, data / "versions", code.parent)] == [0o711] * 3
    assert {folder: folder.stat().st_mode for folder in outside} == before


def test_what_is_anothers_is_not_opened(tmp_path: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root has folders of others")
    code = tmp_path / "var" / "code"
    code.mkdir(parents=True)
    (tmp_path / "var").chmod(0o700)
    os.chown(tmp_path / "var", 12_345, 12_345)
    with pytest.raises(reach.OutOfReach, match="cannot enter"):
        reach.let_through(code, tmp_path / "var")
    assert (tmp_path / "var").stat().st_mode & 0o777 == 0o700
