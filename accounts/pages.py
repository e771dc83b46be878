"""The page on which people invite others."""
