"""Screening: sensitive words in prompts and completions.

`folding` decides which characters are equal; `tracking` and `lexicon` find words; `stream` screens a text delta by
delta, `nested` texts inside JSON, `incoming` prompts; `live` owns the compiled words, `wordlist` reads and writes lists
of them, `audit` stores hits.
"""
