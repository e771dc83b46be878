"""Push channels: replayable event logs, each of one user and key; `push` publishes to them."""
