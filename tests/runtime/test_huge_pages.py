"""Large pages: what is in use becomes one, what is not stays as it is."""

import ctypes
import mmap
from pathlib import Path

import pytest

from runtime import huge_pages
from runtime.huge_pages import HugePages, large_page_bytes
from tests.readers import wait_until

SIZE = large_page_bytes()
pytestmark = [
    pytest.mark.skipif(not SIZE, reason="this system has no large pages"),
    pytest.mark.skipif(
        bool(SIZE) and "[always]" in huge_pages.ENABLED_FILE.read_text(), reason="this system makes all pages large"
    ),
]
MAPPED = 8


def large_bytes(memory: mmap.mmap) -> int:
    """Return how many bytes of this memory are in large pages."""
    address = ctypes.addressof(ctypes.c_char.from_buffer(memory))
    lines = iter(Path("/proc/self/smaps").read_text().splitlines())
    for line in lines:
        start, dash, rest = line.partition(" ")[0].partition("-")
        if dash and int(start, 16) <= address < int(rest, 16):
            found = next(each for each in lines if each.startswith("AnonHugePages:"))
            return int(found.split()[1]) * 1024
    raise AssertionError("the memory is not mapped")


@pytest.mark.parametrize(("used", "expected"), [(1.0, True), (0.5, False)], ids=["full", "half"])
def test_memory_in_use_becomes_large_pages(used: float, expected: bool) -> None:
    """Pages become large where the process has nearly all of them already, so that it takes no more memory."""
    with mmap.mmap(-1, MAPPED * SIZE, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS) as memory:
        memory.madvise(mmap.MADV_DONTFORK)  # so that the system lists it apart from its neighbours
        for place in range(0, MAPPED * SIZE, SIZE):
            memory[place : place + int(used * SIZE)] = b"x" * int(used * SIZE)

        def is_large() -> bool:
            HugePages(SIZE).enlarge_now()
            return large_bytes(memory) >= (MAPPED - 2) * SIZE

        if expected:
            wait_until(is_large)  # the system may have no room for some of them at once
        assert is_large() == expected  # also where it finds large pages
        assert memory[MAPPED * SIZE - SIZE] == ord("x")


def test_an_operator_who_allows_none_has_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The system's switch holds for the process too, and a system without one has no large pages."""
    switch = tmp_path / "enabled"
    monkeypatch.setattr(huge_pages, "ENABLED_FILE", switch)
    assert large_page_bytes() == 0
    switch.write_text("always madvise [never]\n")
    assert large_page_bytes() == 0
