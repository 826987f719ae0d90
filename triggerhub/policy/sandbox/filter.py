"""Make the seccomp program of a sandbox: which system calls a handler may use.

A list of what is refused, since handlers are any program: what administers a host, looks into other
processes, makes namespaces or mounts, and what kernels have often been broken by. A call that is newer
than this list is answered as if the kernel did not know it, and the C library goes the old way.
Numbers: include/uapi/asm-generic/unistd.h and arch/x86/entry/syscalls/syscall_64.tbl of Linux.
"""

from __future__ import annotations

import struct
from typing import Literal, NamedTuple

Machine = Literal["x86_64", "aarch64"]

NEWEST = 469
"""file_setattr, Linux 6.17."""
_X32 = 0x4000_0000
_ARCHITECTURES: dict[Machine, int] = {"x86_64": 0xC000_003E, "aarch64": 0xC000_00B7}

_LOAD, _EQUAL, _GREATER, _AT_LEAST, _ANY_BIT, _AND, _RETURN = 0x20, 0x15, 0x25, 0x35, 0x45, 0x54, 0x06
ALLOW, KILL, _ERRNO = 0x7FFF_0000, 0x8000_0000, 0x0005_0000
EPERM, ENOSYS, EPROTONOSUPPORT, EAFNOSUPPORT = 1, 38, 93, 97

_NUMBER, _ARCHITECTURE = 0, 4
_ARGUMENTS = 16
"""Where the arguments begin in ``struct seccomp_data``; eight bytes each, the low half first."""

DENIED: dict[str, tuple[int | None, int | None]] = {
    # Administers the host.
    "acct": (163, 89), "bpf": (321, 280), "syslog": (103, 116), "reboot": (169, 142), "vhangup": (153, 58),
    "init_module": (175, 105), "finit_module": (313, 273), "delete_module": (176, 106),
    "kexec_load": (246, 104), "kexec_file_load": (320, 294), "swapon": (167, 224), "swapoff": (168, 225),
    "quotactl": (179, 60), "quotactl_fd": (443, 443), "settimeofday": (164, 170), "clock_settime": (227, 112),
    "clock_adjtime": (305, 266), "adjtimex": (159, 171), "sethostname": (170, 161), "setdomainname": (171, 162),
    "iopl": (172, None), "ioperm": (173, None), "nfsservctl": (180, 42), "lookup_dcookie": (212, 18),
    "uselib": (134, None), "ustat": (136, None), "sysfs": (139, None), "_sysctl": (156, None),
    "lsm_set_self_attr": (460, 460),
    # Keys outlive the process, and belong to the user rather than to the sandbox.
    "add_key": (248, 217), "request_key": (249, 218), "keyctl": (250, 219),
    # Makes or enters namespaces, mounts, other roots.
    "mount": (165, 40), "umount2": (166, 39), "pivot_root": (155, 41), "chroot": (161, 51), "unshare": (272, 97),
    "setns": (308, 268), "open_tree": (428, 428), "open_tree_attr": (467, 467), "move_mount": (429, 429),
    "fsopen": (430, 430), "fsconfig": (431, 431), "fsmount": (432, 432), "fspick": (433, 433),
    "mount_setattr": (442, 442), "statmount": (457, 457), "listmount": (458, 458),
    "name_to_handle_at": (303, 264), "open_by_handle_at": (304, 265),
    # Looks into other processes.
    "ptrace": (101, 117), "process_vm_readv": (310, 270), "process_vm_writev": (311, 271), "kcmp": (312, 272),
    "pidfd_getfd": (438, 438), "process_madvise": (440, 440), "process_mrelease": (448, 448),
    "perf_event_open": (298, 241),
    # What kernels have been broken by, and no handler needs.
    "userfaultfd": (323, 282), "modify_ldt": (154, None), "move_pages": (279, 239), "migrate_pages": (256, 238),
    "mbind": (237, 235), "set_mempolicy": (238, 237), "get_mempolicy": (239, 236),
    "set_mempolicy_home_node": (450, 450), "personality": (135, 92),
    "fanotify_init": (300, 262), "fanotify_mark": (301, 263),
}  # fmt: skip
"""Refused with EPERM: the number on x86_64, and that on aarch64."""

UNKNOWN: dict[str, tuple[int, int]] = {
    "clone3": (435, 435), "memfd_secret": (447, 447), "io_setup": (206, 0),
    "io_uring_setup": (425, 425), "io_uring_enter": (426, 426), "io_uring_register": (427, 427),
    "openat2": (437, 437),
}  # fmt: skip
"""Answered with ENOSYS: what programs do without.

The flags of clone3 and the mode of openat2 lie in memory, where no filter can look.
"""

UNBOUND: dict[str, tuple[int, int]] = {"memfd_create": (319, 279), "shmget": (29, 194)}
"""Refused with EPERM where no control group counts memory: it would be in no process's size."""

APART: dict[str, tuple[int | None, int | None]] = {
    # Sees files that Landlock keeps closed, and few are there for each user.
    "inotify_init": (253, None), "inotify_init1": (294, 26), "inotify_add_watch": (254, 27),
    # Belongs to the user, whoever's process made it; by its number it needs no opening.
    "semget": (64, 190), "semop": (65, 193), "semctl": (66, 191), "semtimedop": (220, 192),
    "msgget": (68, 186), "msgsnd": (69, 189), "msgrcv": (70, 188), "msgctl": (71, 187),
    "shmget": (29, 194), "shmat": (30, 196), "shmctl": (31, 195), "mq_open": (240, 180), "mq_unlink": (241, 181),
}  # fmt: skip
"""Refused with EPERM without namespaces."""
OF_OTHERS: dict[str, tuple[int, int, int]] = {
    "prlimit64": (302, 261, 0), "sched_setaffinity": (203, 122, 0), "sched_setattr": (314, 274, 0),
    "sched_setparam": (142, 118, 0), "sched_setscheduler": (144, 119, 0), "setpriority": (141, 140, 1),
    "ioprio_set": (251, 30, 1),
}  # fmt: skip
"""What sets how a process runs, and by which argument another is named: 0 is oneself, and all there is without them."""
OF_A_USER = {"setpriority": 2, "ioprio_set": 3}
"""By which first argument they mean every process of a user: then 0 is oneself and the hub."""

MODES: dict[str, tuple[int | None, int | None, int]] = {
    "chmod": (90, None, 1), "fchmod": (91, 52, 1), "fchmodat": (268, 53, 2), "fchmodat2": (452, 452, 2),
    "creat": (85, None, 1), "mknod": (133, None, 1), "mknodat": (259, 33, 2),
}  # fmt: skip
"""What gives a file its mode, and by which argument. A folder is never made with the bits of ``_RISES``."""
OPENS: dict[str, tuple[int | None, int | None, int]] = {"open": (2, None, 1), "openat": (257, 56, 2)}
"""What gives one to a file that it makes, by the argument after that of its flags."""
_RISES = 0o6000
"""Setuid and setgid: whoever runs a file that has one is its owner, and may be anybody of the host."""
_MAKES = 0o100 | 0o20000000
"""O_CREAT, and that part of O_TMPFILE which is its own: without them there is no mode, whatever its argument holds."""

_CLONE, _IOCTL, _SOCKET, _MMAP, _FCNTL = (56, 220), (16, 29), (41, 198), (9, 222), (72, 25)
_SOCKETPAIR = (53, 199)
_NAMESPACES = 0x7E02_0080
"""Every CLONE_NEW… flag, the time namespace's included."""
_TERMINAL = (0x5412, 0x541C)
"""TIOCSTI and TIOCLINUX: writing into a terminal as if its user had typed."""
_UNIX, _INET, _INET6, _NETLINK = 1, 2, 10, 16
"""The families that there are: vsock would leave a virtual machine, others only add kernel code."""
PROTOCOLS = (0, 1, 6, 17, 58, 262)
"""Of the internet: the default, ICMP, TCP, UDP, ICMPv6 and MPTCP; SCTP and others are loaded for whoever asks."""
_ROUTE = 0
"""What programs ask netlink for: their interfaces and routes."""
_LEASE = 1024
"""F_SETLEASE, by which the owner of a file lets whoever opens it wait; without root, the owner is the hub's user."""
_SHARED, _ANONYMOUS = 0x01, 0x20
_STREAM, _SEQPACKET, _KIND = 1, 5, 0xF
"""The kinds of socket that speak to their peer alone, and where a kind is; what sends datagrams sends them anywhere."""


class Step(NamedTuple):
    """One instruction of the kernel's packet filter."""

    code: int
    value: int
    then: int = 0
    otherwise: int = 0


def program(machine: Machine, *, soft: bool, namespaces: bool = True) -> tuple[Step, ...]:
    """Return the program; *soft*: no control group counts memory.

    Without *namespaces* what they keep apart is refused as far as a call shows it: no socket is made at all, no file
    is watched, nothing is shared by a key or a number, and nothing is set for another process.
    """
    column = 0 if machine == "x86_64" else 1
    steps = [
        Step(_LOAD, _ARCHITECTURE),
        Step(_EQUAL, _ARCHITECTURES[machine], 1, 0),
        Step(_RETURN, KILL),
        Step(_LOAD, _NUMBER),
    ]
    if machine == "x86_64":
        steps += [Step(_AT_LEAST, _X32, 0, 1), _refuse(ENOSYS)]
    steps += [Step(_GREATER, NEWEST, 0, 1), _refuse(ENOSYS)]
    # First: no other calls that are judged by their arguments are made as often.
    steps += _modes(column)
    for number in _numbers(DENIED, column) + (_numbers(UNBOUND, column) if soft else []):
        steps += [Step(_EQUAL, number, 0, 1), _refuse(EPERM)]
    for number in _numbers(UNKNOWN, column):
        steps += [Step(_EQUAL, number, 0, 1), _refuse(ENOSYS)]
    steps += _when(_CLONE[column], [_argument(0), Step(_ANY_BIT, _NAMESPACES, 0, 1), _refuse(EPERM)])
    wishes = [step for request in _TERMINAL for step in (Step(_EQUAL, request, 0, 1), _refuse(EPERM))]
    steps += _when(_IOCTL[column], [_argument(1), *wishes])
    steps += _when(_FCNTL[column], [_argument(1), Step(_EQUAL, _LEASE, 0, 1), _refuse(EPERM)])
    steps += _when(_SOCKETPAIR[column], _pairs(namespaces=namespaces))
    if namespaces:
        steps += _when(_SOCKET[column], _sockets())
    else:
        for number in (_SOCKET[column], *_numbers(APART, column)):
            steps += [Step(_EQUAL, number, 0, 1), _refuse(EPERM)]
        for name, call in OF_OTHERS.items():
            named = [_argument(call[2]), Step(_EQUAL, 0, 1, 0), _refuse(EPERM)]
            if name in OF_A_USER:
                named += [_argument(0), Step(_EQUAL, OF_A_USER[name], 0, 1), _refuse(EPERM)]
            steps += _when(call[column], named)
    if soft:
        flags = _argument(3)
        anonymous = [Step(_ANY_BIT, _ANONYMOUS, 0, 2), Step(_ANY_BIT, _SHARED, 0, 1), _refuse(EPERM)]
        steps += _when(_MMAP[column], [flags, *anonymous])
    return (*steps, Step(_RETURN, ALLOW))


def assemble(steps: tuple[Step, ...]) -> bytes:
    """Return the kernel's form: an array of ``struct sock_filter``."""
    return b"".join(struct.pack("=HBBI", step.code, step.then, step.otherwise, step.value) for step in steps)


def _numbers(calls: dict[str, tuple[int | None, int | None]] | dict[str, tuple[int, int]], column: int) -> list[int]:
    return sorted(number for numbers in calls.values() if (number := numbers[column]) is not None)


def _refuse(error: int) -> Step:
    return Step(_RETURN, _ERRNO | error)


def _argument(index: int) -> Step:
    # The low half: flags, families and requests have 32 bits, and the kernel takes no more of them.
    return Step(_LOAD, _ARGUMENTS + 8 * index)


def _modes(column: int) -> list[Step]:
    """Return what lets no file become a program that runs as its owner for whoever starts it."""
    steps = []
    for call in OPENS.values():
        if (number := call[column]) is not None:
            makes = [_argument(call[2]), Step(_ANY_BIT, _MAKES, 0, 3), *_rises(call[2] + 1)]
            steps += _when(number, makes)
    for call in MODES.values():
        if (number := call[column]) is not None:
            steps += _when(number, _rises(call[2]))
    return steps


def _rises(mode: int) -> list[Step]:
    return [_argument(mode), Step(_ANY_BIT, _RISES, 0, 1), _refuse(EPERM)]


def _sockets() -> list[Step]:
    """Return what decides on a socket: its family, and of what that family."""
    count = len(PROTOCOLS)
    return [
        _argument(0),
        Step(_EQUAL, _UNIX, count + 9, 0),
        Step(_EQUAL, _NETLINK, 3, 0),
        Step(_EQUAL, _INET, 5, 0),
        Step(_EQUAL, _INET6, 4, 0),
        _refuse(EAFNOSUPPORT),
        _argument(2),
        Step(_EQUAL, _ROUTE, count + 3, 0),
        _refuse(EPROTONOSUPPORT),
        _argument(2),
        *(Step(_EQUAL, one, count - place, 0) for place, one in enumerate(PROTOCOLS)),
        _refuse(EPROTONOSUPPORT),
    ]


def _pairs(*, namespaces: bool) -> list[Step]:
    """Return what decides on a pair of sockets: of other families the kernel makes them before it refuses."""
    steps = [_argument(0), Step(_EQUAL, _UNIX, 1, 0), _refuse(EAFNOSUPPORT)]
    if not namespaces:
        kinds = [Step(_EQUAL, _STREAM, 2, 0), Step(_EQUAL, _SEQPACKET, 1, 0)]
        steps += [_argument(1), Step(_AND, _KIND), *kinds, _refuse(EPERM)]
    return steps


def _when(number: int, steps: list[Step]) -> list[Step]:
    """Return *steps* for one call only, which is allowed where none of them decided."""
    return [Step(_EQUAL, number, 0, len(steps) + 1), *steps, Step(_RETURN, ALLOW)]
