"""Large pages for memory, which make the objects of many streams quicker to read.

The objects of a stream lie all over the heap. With a thousand streams nearly each of them is on another page than the
one before, and the processor has to look up where that page is. A page of two megabytes replaces 512 such entries.
Linux only does this by itself for programs that ask for it. Without its help nothing changes.
"""

import asyncio
import ctypes
import mmap
from collections.abc import Iterator
from pathlib import Path

# How the system names its large pages, and whether programs may have them.
SIZE_FILE = Path("/sys/kernel/mm/transparent_hugepage/hpage_pmd_size")
ENABLED_FILE = Path("/sys/kernel/mm/transparent_hugepage/enabled")
# Linux's number for "make these pages one large page now", since 6.1.
MADV_COLLAPSE = 25
# Seconds between two looks at the memory.
SECONDS = 5.0
# The share of a large page that must be in use already, so that the process takes little more memory.
IN_USE = 0.9


def large_page_bytes() -> int:
    """Return the size of a large page; 0 where the system allows none."""
    try:
        allowed = "[never]" not in ENABLED_FILE.read_text()
        return int(SIZE_FILE.read_text()) if allowed else 0
    except (OSError, ValueError):
        return 0


class HugePages:
    """Makes memory that is in use large pages, now and then."""

    def __init__(self, size: int) -> None:
        self._size, self._libc = size, ctypes.CDLL(None)
        self._least = int(IN_USE * size / mmap.PAGESIZE)
        self._in_use = (ctypes.c_ubyte * (size // mmap.PAGESIZE))()

    async def enlarge(self) -> None:
        """Look at all memory of the process, in a thread. A timer."""
        await asyncio.to_thread(self.enlarge_now)

    def enlarge_now(self) -> None:
        """Do the same at once. Repeating is safe, and cheap for pages that are large."""
        for start in self._candidates():
            address, size = ctypes.c_void_p(start), ctypes.c_size_t(self._size)
            # Memory that was given back since it was listed makes both calls fail, which changes nothing.
            if self._libc.mincore(address, size, self._in_use) == 0 and sum(self._in_use) >= self._least:
                self._libc.madvise(address, size, MADV_COLLAPSE)

    def _candidates(self) -> Iterator[int]:
        """Yield where a large page may begin in memory that belongs to no file."""
        for line in Path("/proc/self/maps").read_text().splitlines():
            place, access, _offset, _device, inode, *_name = line.split(maxsplit=5)
            if access != "rw-p" or inode != "0":
                continue
            start, end = (int(bound, 16) for bound in place.split("-"))
            first = -(-start // self._size) * self._size
            yield from range(first, end - self._size + 1, self._size)
