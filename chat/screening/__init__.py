"""Screening: sensitive words in what people ask and in what models answer.

`folding` says which characters are the same, `tracking` and `lexicon` find words, `stream` screens a text while it
comes, `nested` texts inside JSON, `incoming` what people send; `live` knows the words that count now, `wordlist` reads
lists of them, `record` keeps what was found.
"""
