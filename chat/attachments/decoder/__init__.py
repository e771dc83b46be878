"""Turn uploaded files into pictures and texts, in a process of its own.

`python -m chat.attachments.decoder` reads one batch of files and writes what they became. It imports nothing of Django
or of this project outside of this package, so a hostile file finds no secrets, and it may use bounded memory and time.
"""
