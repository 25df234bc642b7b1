"""How many files and connections the engine may have open: what clients take it lacks elsewhere."""

from __future__ import annotations

import contextlib
import resource

WANTED_DESCRIPTORS = 8192
OWN_DESCRIPTORS = 512
"""Of these, or half where there are fewer: for the index, journals, locks, logs, and the pipes of what is started."""


def most_clients() -> int:
    """Clients that this process may have at a time and still open what it works with."""
    soft, _hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    num = WANTED_DESCRIPTORS if soft == resource.RLIM_INFINITY else min(soft, WANTED_DESCRIPTORS)
    return num - min(OWN_DESCRIPTORS, num // 2)


def raise_descriptor_limit() -> None:
    """Allow as many descriptors as clients need, where the system lets us."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = WANTED_DESCRIPTORS if hard == resource.RLIM_INFINITY else min(hard, WANTED_DESCRIPTORS)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        with contextlib.suppress(ValueError, OSError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
