"""Numbers in Chinese texts: groups of three digits, as `toLocaleString("zh-hans")` writes them."""

THOUSAND_SEPARATOR = ","
NUMBER_GROUPING = 3
