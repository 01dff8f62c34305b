"""The C library's heap: what a pass frees is kept for the next one.

Left to itself, glibc gives large blocks back to the system as soon as they are free, so that each pass finds the pages of its
activations anew; on a virtual machine that took a quarter of an evaluation's time (benchmarks/README.md). Other C
libraries are left alone.
"""

from __future__ import annotations

import ctypes

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3
"""From malloc.h."""

LARGE_BYTES, FREE_BYTES = 2**30, 2**31 - 1
"""What larger blocks are mapped apart, and how much may be free at the heap's end before it shrinks."""


def keep_freed() -> None:
    """Keep what is freed, from now on, until `give_back`."""
    if libc := _glibc():
        libc.mallopt(M_MMAP_THRESHOLD, LARGE_BYTES)
        libc.mallopt(M_TRIM_THRESHOLD, FREE_BYTES)


def give_back() -> None:
    """Give what is free now to the system."""
    if libc := _glibc():
        libc.malloc_trim(0)


def _glibc() -> ctypes.CDLL | None:
    libc = ctypes.CDLL(None)
    return libc if hasattr(libc, "gnu_get_libc_version") else None
