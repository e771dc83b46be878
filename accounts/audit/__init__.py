"""The audit: what staff and commands did, and which conversations staff read.

`recording` writes its rows, `commands` those of the command line, `admin` shows them. The database refuses changes.
"""
