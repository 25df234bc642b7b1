"""What a user can meet when something is wrong, each with the exit code it ends a command with."""

from __future__ import annotations


class DepthscopeError(Exception):
    """An error that a user can act on; its text is one line that names the value and the remedy."""

    exit_code = 1


class UsageError(DepthscopeError):
    """What was asked for cannot be done as asked; nothing was written."""

    exit_code = 2


class EngineUnreachable(DepthscopeError):
    """No engine answers, and none could be started."""

    exit_code = 3


class DatasetError(UsageError):
    """A dataset is unknown, incomplete or damaged."""


class CheckpointDamaged(DepthscopeError):
    """A checkpoint does not match its own checksum, or is of another run."""
