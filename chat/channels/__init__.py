"""Push channels: ordered, replayable event logs, each of one user and key. `push` is the public Python API."""
