"""The connections; see the package."""

from typing import Any

from django.db.backends.postgresql import base
from psycopg import OperationalError, pq

from runtime.bounded_postgresql import REPLY_SECONDS


class DatabaseWrapper(base.DatabaseWrapper):
    """A connection whose statements fail when no reply comes in time; it is closed then."""

    reply_seconds = REPLY_SECONDS

    def get_new_connection(self, conn_params: Any) -> Any:
        """Connect; `connect_timeout` limits that."""
        connection = super().get_new_connection(conn_params)
        wait = connection.wait

        def wait_for_reply(generator: Any, *args: Any, **options: Any) -> Any:
            try:
                return wait(generator, *args, **{"timeout": self.reply_seconds, **options})
            except OperationalError as error:
                if connection.info.transaction_status != pq.TransactionStatus.ACTIVE:
                    raise
                connection.close()
                raise OperationalError("the server does not reply") from error

        connection.wait = wait_for_reply
        return connection
