"""Give up every right that a script's process does not need, and say which were given up.

Each measure stands alone, because a kernel or a container may refuse any of them: whoever breaks
out of the interpreter meets those that are active. Nothing can be opened afterwards, so whatever
is to be imported must have been.
"""

import contextlib
import ctypes
import os
import platform
import resource
import signal
import struct
import sys
from collections.abc import Callable

ADDRESS_BYTES_MAX = 768 * 1024 * 1024  # the largest argument's heap, and Python's copies of it
NOBODY = 65534  # user and group without rights, on all Linux distributions

# Constants of the kernel's headers; Python has no names for them.
_PR_SET_PDEATHSIG, _PR_SET_NO_NEW_PRIVS, _PR_SET_SECCOMP = 1, 38, 22
_PR_GET_NO_NEW_PRIVS, _PR_GET_SECCOMP = 39, 21
_SECCOMP_MODE_FILTER = 2
_CLONE_NEWUSER, _CLONE_NEWNET = 0x10000000, 0x40000000
_ALLOW, _KILL, _DENY = 0x7FFF0000, 0x80000000, 0x00050001  # deny: the call gives EPERM
_LOAD, _EQUAL, _ANY_BIT, _RETURN = 0x20, 0x15, 0x45, 0x06  # BPF: word, jeq, jset, ret
_PROT_EXEC = 4
_NUMBER_AT, _ARCHITECTURE_AT, _THIRD_ARGUMENT_AT = 0, 4, 32  # in struct seccomp_data

_ARCHITECTURES = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}  # the kernel's AUDIT_ARCH_*
# The calls that a running interpreter makes, with their numbers on x86_64 and aarch64: it reads
# and writes its two pipes, manages memory and signals, looks at clocks, and ends.
_ALLOWED = (
    ("read", 0, 63),
    ("write", 1, 64),
    ("close", 3, 57),
    ("fstat", 5, 80),
    ("lseek", 8, 62),
    ("munmap", 11, 215),
    ("brk", 12, 214),
    ("mremap", 25, 216),
    ("madvise", 28, 233),
    ("rt_sigaction", 13, 134),
    ("rt_sigprocmask", 14, 135),
    ("rt_sigreturn", 15, 139),
    ("sigaltstack", 131, 132),
    ("sched_yield", 24, 124),
    ("gettimeofday", 96, 169),
    ("getrusage", 98, 165),
    ("times", 100, 153),
    ("futex", 202, 98),
    ("restart_syscall", 219, 128),
    ("clock_gettime", 228, 113),
    ("clock_getres", 229, 114),
    ("getrandom", 318, 278),
    ("exit", 60, 93),
    ("exit_group", 231, 94),
)
# Allowed unless the memory is to be executable.
_MAPPING = (
    ("mmap", 9, 222),
    ("mprotect", 10, 226),
)


def confine(cpu_s_max: int) -> dict[str, bool]:
    """Give up what can be given up; return each measure with whether it is active.

    Args:
        cpu_s_max: CPU seconds this process may use in its life; the kernel then kills it.
    """
    if sys.platform != "linux":
        return {f"rlimit{name}": active for name, active in _limit(cpu_s_max).items()}
    libc = ctypes.CDLL(None, use_errno=True)
    report = {
        # An empty network; whoever is not root needs a user namespace to have one.
        "networkNamespace": libc.unshare(_CLONE_NEWNET) == 0
        or libc.unshare(_CLONE_NEWUSER | _CLONE_NEWNET) == 0,
        "unprivilegedUser": _leave_root(),
    }
    # Set after the change of user, which clears it: no child outlives its server.
    report["endsWithServer"] = _prctl(libc, _PR_SET_PDEATHSIG, signal.SIGKILL) == 0
    report |= {f"rlimit{name}": active for name, active in _limit(cpu_s_max).items()}
    _prctl(libc, _PR_SET_NO_NEW_PRIVS, 1)
    report["noNewPrivileges"] = _prctl(libc, _PR_GET_NO_NEW_PRIVS) == 1
    report["seccomp"] = _filter_calls(libc)
    return report


def _limit(cpu_s_max: int) -> dict[str, bool]:
    wanted = {
        "Cpu": (resource.RLIMIT_CPU, cpu_s_max),
        "AddressSpace": (resource.RLIMIT_AS, ADDRESS_BYTES_MAX),
        "FileSize": (resource.RLIMIT_FSIZE, 0),
        "Core": (resource.RLIMIT_CORE, 0),
        "Processes": (resource.RLIMIT_NPROC, 0),
        # Those that are open stay open; a new one cannot be had.
        "OpenFiles": (resource.RLIMIT_NOFILE, 0),
    }
    return {name: _is_done(_limiter(kind, value)) for name, (kind, value) in wanted.items()}


def _limiter(kind: int, value: int) -> Callable[[], None]:
    return lambda: resource.setrlimit(kind, (value, value))


def _leave_root() -> bool:
    """Become nobody if we are root; True when we are not root any more."""

    def leave() -> None:
        os.setgroups([])
        os.setresgid(NOBODY, NOBODY, NOBODY)
        os.setresuid(NOBODY, NOBODY, NOBODY)

    if os.geteuid() == 0:
        _is_done(leave)
    return os.geteuid() != 0


def _is_done(act: Callable[[], None]) -> bool:
    with contextlib.suppress(OSError, ValueError):
        act()
        return True
    return False


def _prctl(libc: ctypes.CDLL, option: int, value: int = 0) -> int:
    rest = (ctypes.c_ulong(0),) * 3
    return int(libc.prctl(ctypes.c_int(option), ctypes.c_ulong(value), *rest))


def _filter_calls(libc: ctypes.CDLL) -> bool:
    """Allow the system calls of a running interpreter and no other; needs no-new-privs."""
    machine = platform.machine()
    if machine not in _ARCHITECTURES:
        return False
    column = 1 + list(_ARCHITECTURES).index(machine)
    plain = [int(row[column]) for row in _ALLOWED]
    mapping = [int(row[column]) for row in _MAPPING]
    instructions = _instructions(_ARCHITECTURES[machine], plain, mapping)
    kept = ctypes.create_string_buffer(instructions)
    # The kernel's struct sock_fprog: how many instructions, and where they are.
    program = ctypes.create_string_buffer(
        struct.pack("@HP", len(instructions) // 8, ctypes.addressof(kept))
    )
    libc.prctl(
        ctypes.c_int(_PR_SET_SECCOMP),
        ctypes.c_ulong(_SECCOMP_MODE_FILTER),
        ctypes.c_ulong(ctypes.addressof(program)),
        ctypes.c_ulong(0),
        ctypes.c_ulong(0),
    )
    # Asking is itself a call that the filter denies, which is the answer.
    return _prctl(libc, _PR_GET_SECCOMP) != 0


def _instructions(architecture: int, plain: list[int], mapping: list[int]) -> bytes:
    """Write the filter in the kernel's BPF: allow ``plain``, ``mapping`` if not executable."""
    to_allow = len(plain) + len(mapping) + 4
    to_check = len(plain) + len(mapping) + 1
    jumps = [(number, to_allow) for number in plain] + [(number, to_check) for number in mapping]
    rows = [
        (_LOAD, 0, 0, _ARCHITECTURE_AT),
        (_EQUAL, 1, 0, architecture),
        (_RETURN, 0, 0, _KILL),
        (_LOAD, 0, 0, _NUMBER_AT),
        # A jump counts from the row after it.
        *((_EQUAL, to - at - 1, 0, number) for at, (number, to) in enumerate(jumps)),
        (_RETURN, 0, 0, _DENY),
        (_LOAD, 0, 0, _THIRD_ARGUMENT_AT),
        (_ANY_BIT, 0, 1, _PROT_EXEC),
        (_RETURN, 0, 0, _DENY),
        (_RETURN, 0, 0, _ALLOW),
    ]
    return b"".join(struct.pack("=HBBI", *row) for row in rows)
