"""Memory that this process holds, and the most that it has held."""

from __future__ import annotations

import contextlib
import ctypes
import functools
import platform
import re
import sys
from pathlib import Path

import psutil

# Of mallopt, from glibc's malloc.h.
_TRIM_THRESHOLD, _MMAP_MAX = -1, -4
_NEVER = 2**31 - 1


@functools.cache
def keep() -> None:
    """Have this process keep the memory that it has freed, where the C library is glibc.

    By default glibc returns large maps to the system when they are free, and requests them anew, with a page fault for
    each 4 kB. How often depends on earlier sizes, other models' too, and a model's time would depend on it.
    """
    if platform.libc_ver()[0] == "glibc":
        libc = ctypes.CDLL(None)
        libc.mallopt(_MMAP_MAX, 0)
        libc.mallopt(_TRIM_THRESHOLD, _NEVER)


def resident() -> int:
    """Return the bytes that this process holds now."""
    return int(psutil.Process().memory_info().rss)


def reset_peak() -> None:
    """Start the peak anew from here, which only Linux can do."""
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")


def peak() -> int:
    """Return the most bytes held since the last reset or, where there is none, since the process began."""
    if sys.platform == "win32":
        return int(psutil.Process().memory_info().peak_wset)
    # On Linux, getrusage would start at the parent's figure, which exec keeps.
    status = Path("/proc/self/status")
    found = re.search(r"VmHWM:\s*(\d+) kB", status.read_text()) if status.exists() else None
    if found:
        return int(found[1]) * 1024
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def available() -> int:
    """Return the bytes that are still available on this machine."""
    return int(psutil.virtual_memory().available)
