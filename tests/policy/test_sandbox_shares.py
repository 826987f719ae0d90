"""Control groups are found where they are mounted, and hold a function to its share."""

from __future__ import annotations

import pytest

from triggerhub.policy.sandbox.shares import Places, limit, places, settings, used
from triggerhub.settings import GB, MB

V1 = """8:pids:/
4:memory:/box/1
2:cpuacct,cpu:/
0::/
"""
MOUNTS = """30 29 0:26 / /sys/fs/cgroup rw - tmpfs tmpfs rw
31 30 0:27 / /sys/fs/cgroup/memory rw,relatime - cgroup cgroup rw,memory
32 30 0:28 / /sys/fs/cgroup/cpu,cpuacct rw,relatime shared:9 - cgroup cgroup rw,cpu,cpuacct
33 30 0:29 / /sys/fs/cgroup/pids rw - cgroup cgroup rw,pids
34 30 0:30 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw
"""


def test_version_1_is_found_by_controller() -> None:
    found = places(V1, MOUNTS)
    assert found.unified == "/sys/fs/cgroup/unified"
    assert found.separate == {
        "memory": "/sys/fs/cgroup/memory/box/1", "cpu": "/sys/fs/cgroup/cpu,cpuacct", "pids": "/sys/fs/cgroup/pids",
        "cpuacct": "/sys/fs/cgroup/cpu,cpuacct",
    }  # fmt: skip


def test_version_2_is_one_folder() -> None:
    own = "0::/user.slice/user-1000.slice/run-1.scope\n"
    mounted = "25 20 0:22 / /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw,nsdelegate\n"
    assert places(own, mounted) == Places(separate={}, unified="/sys/fs/cgroup/user.slice/user-1000.slice/run-1.scope")
    # As a container sees it: the mount shows its own group as the root.
    bound = "25 20 0:22 /docker/1 /sys/fs/cgroup ro - cgroup2 cgroup rw\n"
    assert places("0::/docker/1\n", bound).unified == "/sys/fs/cgroup"
    assert places("", "") == Places(separate={}, unified=None)


@pytest.mark.parametrize(
    ("memory", "weight", "bound"),
    [(128 * MB, "74", "100000"), (1769 * MB, "1024", "100000"), (10 * GB, "5927", "578858")],
)
def test_the_processor_is_shared_in_proportion_to_memory(memory: int, weight: str, bound: str) -> None:
    written = {file: value for file, value, _ in settings(limit(memory, 512 * MB, 1024), unified=False)}
    assert written["memory.limit_in_bytes"] == str(memory + 512 * MB)
    assert (written["cpu.shares"], written["cpu.cfs_quota_us"], written["pids.max"]) == (weight, bound, "1024")


@pytest.mark.parametrize(
    ("stat", "files", "held"),
    [
        ("cache 900\nrss 100\nrss_huge 64\nshmem 700\nmapped_file 300\n", 700, 100),
        ("cache 900\nrss 100\nshmem 700\n", 0, 800),
        ("anon 100\nfile 900\nkernel 50\nshmem 700\nfile_mapped 300\n", 650, 150),
        ("anon 100\nshmem 700\n", 701, 100),
        ("", 5, 0),
    ],
)
def test_memory_is_what_processes_allocate_and_share_and_no_file_s(stat: str, files: int, held: int) -> None:
    assert used(stat, files) == held


def test_the_files_of_version_2_are_these() -> None:
    assert settings(limit(1769 * MB, 0, 1024), unified=True) == (
        ("memory.max", str(1769 * MB), True),
        ("memory.swap.max", "0", False),
        ("memory.oom.group", "1", False),
        ("pids.max", "1024", True),
        ("cpu.weight", "100", False),
        ("cpu.max", "100000 100000", False),
    )
