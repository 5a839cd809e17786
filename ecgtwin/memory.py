"""How much memory there is, so that what cannot fit is refused before it is taken."""

from __future__ import annotations

import os
from pathlib import Path

from .exceptions import InputError

_LIMITS = (Path("/sys/fs/cgroup/memory.max"), Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"))
_USED = (Path("/sys/fs/cgroup/memory.current"), Path("/sys/fs/cgroup/memory/memory.usage_in_bytes"))


def available_bytes() -> int | None:
    """Return how many bytes can be taken without swapping; None where the system does not say."""
    found = []
    try:
        for line in Path("/proc/meminfo").read_text().splitlines():
            if line.startswith("MemAvailable:"):
                found.append(1024 * int(line.split()[1]))
    except (OSError, ValueError):
        pass
    for limit, used in zip(_LIMITS, _USED, strict=True):  # of a container
        try:
            found.append(int(limit.read_text()) - int(used.read_text()))
        except (OSError, ValueError):
            continue
    found += [limit - _address_space() for limit in _address_limit()]
    return max(0, min(found)) if found else None


def _address_limit() -> list[int]:
    try:
        import resource
    except ImportError:  # there is none on Windows
        return []
    soft = resource.getrlimit(resource.RLIMIT_AS)[0]
    return [] if soft == resource.RLIM_INFINITY else [soft]


def _address_space() -> int:
    try:
        return int(Path("/proc/self/statm").read_text().split()[0]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError):
        return 0


def check_fits(n_bytes: float, what: str, instead: str) -> None:
    """Raise `InputError` if so many bytes are not there, saying how many and what to do instead."""
    there = available_bytes()
    if there is not None and n_bytes > there:
        raise InputError(
            f"{what} would take {n_bytes / 1e9:.3g} GB, and {there / 1e9:.3g} GB of memory are there: "
            f"{instead}"
        )
