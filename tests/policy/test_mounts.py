"""What the kernel's tables say of a folder."""

from __future__ import annotations

import pytest

from triggerhub.policy.mounts import explain_refusal, file_system

MOUNTS = r"""22 27 0:21 / /proc rw,relatime - proc proc rw
27 1 254:0 / / rw,relatime - ext4 /dev/vda rw
31 27 0:30 / /srv rw shared:1 - nfs4 server:/srv rw
32 31 0:31 / /srv/with\040blank rw - vfat /dev/sdb1 rw
33 27 0:32 / /tmp rw - ext4 /dev/vdb rw
34 33 0:33 / /tmp rw - tmpfs tmpfs rw
not a mount
"""


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("/home/a", "ext4"), ("/", "ext4"), ("/srv", "nfs4"), ("/srv/in", "nfs4"), ("/srvx", "ext4"),
        ("/srv/with blank/in", "vfat"), ("/tmp/in", "tmpfs"),
    ],
)  # fmt: skip
def test_the_innermost_and_last_mount_counts(path: str, kind: str) -> None:
    assert file_system(MOUNTS, path) == kind


def test_an_empty_table_says_nothing() -> None:
    assert file_system("", "/in") == ""


@pytest.mark.parametrize(
    ("error", "remedy"),
    [
        ("Error creating recommended watcher: Too many open files (os error 24)", "fs.inotify.max_user_instances"),
        ("OS file watch limit reached. about [/in]", "fs.inotify.max_user_watches"),
        ("No space left on device (os error 28)", "fs.inotify.max_user_watches"),
        ("something else", "something else"),
    ],
)
def test_a_refusal_names_its_remedy(error: str, remedy: str) -> None:
    assert remedy in explain_refusal(error)
