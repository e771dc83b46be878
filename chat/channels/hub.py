"""The push-channel objects of one process, and the notification of readers."""

import asyncio
import threading

from chat.channels.feeds import Feeds, topic
from chat.channels.watch import EndWatcher
from runtime.pubsub import Broker
from runtime.redis_clients import RedisClients


class Channels:
    """Own the feeds and the end watcher of this process."""

    def __init__(self, broker: Broker, redis: RedisClients) -> None:
        self._broker, self._redis = broker, redis
        self.feeds = Feeds(broker)
        self.ends = EndWatcher()
        # Scripts without an event loop publish one at a time, because they share one Redis client.
        self._script_lock = threading.Lock()

    def notify(self, channel_id: int, loop: asyncio.AbstractEventLoop | None) -> None:
        """Notify the readers and watches of a channel; polling makes up for a lost notification."""
        self.ends.check_soon()
        if loop is not None:
            asyncio.run_coroutine_threadsafe(self._broker.publish(topic(channel_id)), loop)
            return
        with self._script_lock:
            asyncio.run(self._publish_from_script(topic(channel_id)))

    async def _publish_from_script(self, topic: str) -> None:
        await self._broker.publish(topic)
        await self._redis.aclose()
