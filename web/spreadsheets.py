"""Values of CSV files that are opened in spreadsheets."""

# Characters at the start of a cell that make spreadsheets read it as a formula, which could send data elsewhere.
_FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r", "\n", "\uff1d", "\uff0b", "\uff0d", "\uff20")


def cell(value: object) -> str:
    """Return a value as text that no spreadsheet reads as a formula; numbers stay numbers."""
    text = "" if value is None else str(value)
    return f"'{text}" if not isinstance(value, int | float) and _is_formula(text) else text


def text_of(written: str) -> str:
    """Return the text from which `cell` made this one."""
    return written[1:] if written.startswith("'") and _is_formula(written) else written


def _is_formula(text: str) -> bool:
    return text.lstrip("'").startswith(_FORMULA_STARTS)
