"""Let requests with attachments wait for each other."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager


class AttachmentTurns:
    """The requests with attachments of this process.

    A user's next one begins when the last is stored or refused, so that the limits of active generations hold before
    its texts are read. Only one request has its texts in memory, because one thread screens them.
    """

    def __init__(self) -> None:
        self.screening = asyncio.Lock()
        self._locks: dict[int, asyncio.Lock] = {}
        self._waiting: Counter[int] = Counter()

    @asynccontextmanager
    async def of_user(self, user_id: int) -> AsyncIterator[None]:
        """Wait until the user's earlier requests have started or are refused."""
        self._waiting[user_id] += 1
        try:
            async with self._locks.setdefault(user_id, asyncio.Lock()):
                yield
        finally:
            self._waiting[user_id] -= 1
            if not self._waiting[user_id]:
                del self._waiting[user_id], self._locks[user_id]
