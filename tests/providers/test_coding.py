"""Content codings of bodies, whole and cut anywhere."""

import gzip
import zlib
from collections.abc import Callable

import brotli
import pytest
from hypothesis import given
from hypothesis import strategies as st

from providers.wire.errors import UpstreamFailed
from providers.wire.net.coding import Decoded

TEXT = b'data: {"choices":[{"delta":{"content":"It works."}}]}\n\n' * 30


def bare(data: bytes) -> bytes:
    packer = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    return packer.compress(data) + packer.flush()


BODIES = {
    "gzip": ("gzip", gzip.compress(TEXT)),
    "x-gzip": ("x-gzip", gzip.compress(TEXT[:50]) + gzip.compress(TEXT[50:])),
    "zeros behind": ("gzip", gzip.compress(TEXT) + b"\0\0\0"),
    "deflate": ("deflate", zlib.compress(TEXT)),
    "bare deflate": ("deflate", bare(TEXT)),
    "br": ("BR", brotli.compress(TEXT)),
    "not compressed": ("gzip", TEXT),
    "not compressed either": ("br", TEXT),
    "no coding": ("utf-8", TEXT),
}


@pytest.mark.parametrize("name", BODIES)
@given(st.data())
def test_any_cut_gives_the_same_body(name: str, data: st.DataObject) -> None:
    """The pieces in which a body arrives change nothing."""
    coding, body = BODIES[name]
    cuts = sorted(data.draw(st.sets(st.integers(0, len(body)), max_size=8)))
    decoded, found = Decoded(coding), b""
    for start, end in zip([0, *cuts], [*cuts, len(body)], strict=True):
        decoded.feed(body[start:end])
        while piece := decoded.take():
            found += piece
    assert found + decoded.take(at_end=True) == TEXT


@pytest.mark.parametrize("pack", [gzip.compress, zlib.compress, brotli.compress])
def test_a_small_body_cannot_become_large(pack: Callable[[bytes], bytes]) -> None:
    """The bytes of one read become at most 16 MiB."""
    decoded = Decoded("br" if pack is brotli.compress else "gzip")
    decoded.feed(pack(b"x" * 2**26))
    with pytest.raises(UpstreamFailed) as failure:
        list(iter(decoded.take, b""))
    assert failure.value.vendor_code == "event_too_large"


@pytest.mark.parametrize(("coding", "body"), [("br", b"\xff" * 50), ("gzip", b"\x1f\x8bnot gzip"), ("zstd", b"x" * 50)])
def test_other_bytes_are_a_broken_response(coding: str, body: bytes) -> None:
    """A body that is not of its coding, or of an unknown one, is refused."""
    decoded = Decoded(coding)
    decoded.feed(body)
    with pytest.raises(UpstreamFailed) as failure:
        decoded.take(at_end=True)
    assert failure.value.vendor_code == "bad_encoding"
