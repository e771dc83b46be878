"""Channels: ordered, replayable event logs with a lifetime."""
