"""Errors shown to users, each with the exit code of the command that raises it."""

from __future__ import annotations

import errno

FULL = frozenset({errno.ENOSPC, errno.EDQUOT})
"""Numbers of errors that mean a full disk or quota."""
PRUNE_ADVICE = "`depthscope prune` shows what can be deleted"
"""Remedy for a full disk or quota."""


class DepthscopeError(Exception):
    """An error a user can act on; its text is one line with the value and the remedy."""

    exit_code = 1


class UsageError(DepthscopeError):
    """Invalid request; nothing was written."""

    exit_code = 2


class EngineUnreachable(DepthscopeError):
    """The engine does not respond and could not be started."""

    exit_code = 3


class DatasetError(UsageError):
    """Unknown, incomplete or damaged dataset."""


class CheckpointDamaged(DepthscopeError):
    """Checkpoint that fails its checksum or belongs to another run."""
