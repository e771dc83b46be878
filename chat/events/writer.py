"""`Writer`: writes to a client past the task of its response."""

from typing import Protocol


class Writer(Protocol):
    """Sends bytes to the client at once, while it is `ready`."""

    # Whether something was written since this was reset.
    used: bool

    @property
    def ready(self) -> bool: ...

    def write(self, data: bytes) -> bool:
        """Send bytes if the client is ready; return whether it was."""
        ...
