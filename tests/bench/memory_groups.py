"""Control groups that hold a service to its memory, as Docker does: beyond its limit, the kernel kills."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil

CGROUPS = Path("/sys/fs/cgroup")


@dataclass(frozen=True)
class MemoryGroup:
    """One control group, of the first or the second version of the kernel's interface."""

    folder: Path
    is_first_version: bool

    def limit(self, size: int) -> None:
        """Bytes; and no swap, which the first version of the interface can only be asked to avoid."""
        if self.is_first_version:
            (self.folder / "memory.limit_in_bytes").write_text(str(size))
            (self.folder / "memory.swappiness").write_text("0")
        else:
            (self.folder / "memory.max").write_text(str(size))
            (self.folder / "memory.swap.max").write_text("0")

    def join(self, pid: int) -> None:
        """Puts a process into the group, and with it all that it starts from then on."""
        (self.folder / "cgroup.procs").write_text(str(pid))

    def kills(self) -> int:
        """Processes that were killed since they needed more."""
        name = "memory.oom_control" if self.is_first_version else "memory.events"
        counts = dict(line.split() for line in (self.folder / name).read_text().splitlines())
        return int(counts["oom_kill"])


@contextmanager
def memory_groups(limits: Mapping[str, int]) -> Iterator[dict[str, MemoryGroup]]:
    """A group for each name, with its limit in bytes; none where this user may make none. Removed at the end."""
    first = CGROUPS / "memory"
    parent = (first if first.is_dir() else CGROUPS) / f"twitch-bi-bench-{os.getpid()}"
    groups: dict[str, MemoryGroup] = {}
    try:
        parent.mkdir()
        if not first.is_dir():
            (parent / "cgroup.subtree_control").write_text("+memory")
        for name, size in limits.items():
            group = MemoryGroup(parent / name, first.is_dir())
            group.folder.mkdir()
            group.limit(size)
            groups[name] = group
    except OSError:
        groups = {}
    try:
        yield groups
    finally:
        for folder in [*parent.glob("*/"), parent]:
            if folder.is_dir():
                empty(folder)
                folder.rmdir()


def empty(folder: Path) -> None:
    """Waits for what is in the group to end."""
    pids = [int(pid) for pid in (folder / "cgroup.procs").read_text().split()]
    psutil.wait_procs([psutil.Process(pid) for pid in pids if psutil.pid_exists(pid)], timeout=30)
