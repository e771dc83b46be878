"""Screening: sensitive words and patterns in prompts and completions.

`folding` decides which characters are equal; `tracking` finds words; `expressions`, `kinds`, `automaton` and `scanning`
find patterns; `lexicon` finds both in whole texts and `edits` applies their actions. `stream` screens a text delta by
delta, `nested` texts inside JSON, `incoming` prompts; `live` owns what is compiled, `wordlist` reads and writes lists,
`audit` stores hits.
"""
