"""Django's PostgreSQL engine with limited waits for replies, for servers that may hang.

A server that hangs acknowledges what it receives and does not reply, so neither TCP nor its own time limits end the
wait. On the primary that is right, because nothing else knows what became of a transaction. A read may end.
"""

# Seconds to wait for a reply, unless the owner of a connection changes its `reply_seconds`.
REPLY_SECONDS = 1.0
