"""Make chat/screening/simplified.py, the table from traditional to simplified characters, from OpenCC's data.

`pip install opencc==1.4.2 && python scripts/simplified.py`, in an environment of its own: the product needs no OpenCC.
Every character is converted alone, because OpenCC looks at the characters around it and would give another answer for a
text that is cut.
"""

import unicodedata
from pathlib import Path

from opencc import OpenCC, __version__

OUTPUT = Path(__file__).resolve().parent.parent / "chat" / "screening" / "simplified.py"
# All ideographs and radicals, in and beyond the basic plane.
CODES = (*range(0x2E80, 0xA000), *range(0xF900, 0xFB00), *range(0x20000, 0x323B0))
LINE = 54  # each is two columns wide

HEADER = '''"""Traditional characters and their simplified ones. Made by scripts/simplified.py; not to be edited.

From OpenCC {version} (https://github.com/BYVoid/OpenCC), by Carbo Kuo and its contributors, Apache License 2.0:
LICENSE-OpenCC.txt.
"""

'''


def table() -> dict[str, str]:
    """Return the pairs, chased to their end; Taiwan's and Hong Kong's forms count where the common ones say nothing."""
    common = _pairs(OpenCC("t2s"), {})
    simplified = set(common.values())
    pairs = dict(common)
    for name in ("tw2s", "hk2s"):
        pairs |= {old: new for old, new in _pairs(OpenCC(name), pairs).items() if old not in simplified}
    return {old: _last(new, pairs) for old, new in sorted(pairs.items())}


def _pairs(converter: OpenCC, known: dict[str, str]) -> dict[str, str]:
    """Return what the converter changes beyond what is known; what Unicode decomposes is folded before the table."""
    found = {}
    for code in CODES:
        character = chr(code)
        if character in known or unicodedata.normalize("NFKD", character) != character:
            continue
        converted = converter.convert(character)
        if len(converted) == 1 and converted != character:
            found[character] = converted
    return found


def _last(character: str, pairs: dict[str, str]) -> str:
    seen = set()
    while character in pairs and character not in seen:
        seen.add(character)
        character = pairs[character]
    return character


def literal(name: str, text: str) -> str:
    lines = [f'    "{text[at : at + LINE]}"' for at in range(0, len(text), LINE)]
    return "\n".join([f"{name} = (", *lines, ")"]) + "\n"


def main() -> None:
    pairs = table()
    body = literal("TRADITIONAL", "".join(pairs)) + literal("SIMPLIFIED", "".join(pairs.values()))
    OUTPUT.write_text(HEADER.format(version=__version__) + body, encoding="utf-8")
    print(len(pairs), "characters")


if __name__ == "__main__":
    main()
