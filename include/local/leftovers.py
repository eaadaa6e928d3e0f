"""What a killed `make up` leaves running: noted while it lives, and ended by the next command."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

import psutil

from include.local import home

PATIENCE_SECONDS = 20
# A process id may be another's by now, who was born at another time. The clock may have been put right a bit.
SAME_BIRTH_SECONDS = 5


def folder() -> Path:
    """One note a service: its process id, and when the process was born."""
    path = home.folder() / "services"
    path.mkdir(exist_ok=True)
    return path


def note(name: str, pid: int) -> None:
    """Called when a service has started."""
    (folder() / name).write_text(f"{pid} {psutil.Process(pid).create_time()}")


def end_leftovers() -> None:
    """Ends what runs by the notes. For whoever holds `home.only_one`, and before it starts anything."""
    left = {process.pid: process for path in folder().iterdir() for process in noted_family(path.read_text())}
    for process in left.values():
        with suppress(psutil.NoSuchProcess):
            if process.ppid() not in left:  # the others are told by their parent
                process.terminate()
    _, stubborn = psutil.wait_procs(list(left.values()), timeout=PATIENCE_SECONDS)
    for process in stubborn:
        process.kill()
    psutil.wait_procs(stubborn, timeout=PATIENCE_SECONDS)


def noted_family(text: str) -> list[psutil.Process]:
    """What still runs of a service; nothing where a kill left half a note."""
    pid, _, born = text.partition(" ")
    if not born:
        return []
    with suppress(psutil.NoSuchProcess):
        if abs(psutil.Process(int(pid)).create_time() - float(born)) > SAME_BIRTH_SECONDS:
            return []
    return family_of(int(pid))


def family_of(pid: int) -> list[psutil.Process]:
    """A service and all that it started, found by their session: also what a killed one has left behind."""
    return [process for process in psutil.process_iter() if session_of(process) == pid]


def session_of(process: psutil.Process) -> int | None:
    """Id of the session that the process belongs to, or None if it has ended."""
    try:
        return os.getsid(process.pid)
    except ProcessLookupError:
        return None
