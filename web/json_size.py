"""How many values a JSON text has, counted before it is parsed.

The parser holds the interpreter's lock, in any thread: 20 MiB of empty lists stop the process for seconds and take
500 MB.
"""

import re

# Bytes that are looked at between two chances for other threads to run.
SLICE_BYTES = 256 * 1024
# A string, also one without an end, or a byte that begins or separates values.
_TOKEN = re.compile(rb'"(?:[^"\\]++|\\.)*+(?:"|\\?\Z)|[\[{,:]', re.DOTALL)


def has_more_values(text: bytes, limit: int) -> bool:
    """Return whether a JSON text has more than `limit` values; call it in a thread."""
    separators = sum(
        text.count(separator, start, start + SLICE_BYTES)
        for start in range(0, len(text), SLICE_BYTES)
        for separator in (b",", b":", b"[", b"{")
    )
    if separators <= limit:
        return False
    # Most of them may stand in strings, so look at each one.
    count = 0
    for token in _TOKEN.finditer(text):
        count += token[0][:1] != b'"'
        if count > limit:
            return True
    return False
