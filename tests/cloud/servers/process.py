"""A server in a process group of its own: started, waited for, stopped to the last process."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

START_SECONDS = 60
STOP_SECONDS = 10


class ServerError(RuntimeError):
    """A server did not start; the message has the end of what it printed."""


@contextmanager
def running(
    command: Sequence[str | Path], port: int, folder: Path, environ: Mapping[str, str] | None = None
) -> Iterator[subprocess.Popen[bytes]]:
    """A server, from when it listens on its port of 127.0.0.1.

    Args:
        command: what to run, in the folder.
        port: the one that the command makes it listen on.
        folder: for what it writes, its output among it.
        environ: variables on top of this process's.

    Raises:
        ServerError: it has ended, or did not listen in time.
    """
    log = folder / f"{Path(command[0]).name}-{port}.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            list(command),
            cwd=folder,
            env={**os.environ, **(environ or {})},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
    # Ends the server as well where this process is killed: it then ends the pipe that the shell reads.
    watch = ["sh", "-c", 'read -r _; kill -s KILL -- "-$1"', "sh", str(process.pid)]
    watcher = subprocess.Popen(watch, stdin=subprocess.PIPE, stderr=subprocess.DEVNULL, start_new_session=True)
    try:
        wait_until_it_listens(process, port, log)
        yield process
    finally:
        stop(process)
        watcher.kill()
        watcher.communicate()


def wait_until_it_listens(process: subprocess.Popen[bytes], port: int, log: Path) -> None:
    """Returns as soon as the port takes connections.

    Raises:
        ServerError: the process has ended, or did not listen in time.
    """
    deadline = time.monotonic() + START_SECONDS
    while True:
        with suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
            return
        if process.poll() is not None or time.monotonic() > deadline:
            raise ServerError(f"{process.args} does not listen on {port}:\n{log.read_text(errors='replace')[-3000:]}")
        time.sleep(0.05)


def stop(process: subprocess.Popen[bytes]) -> None:
    """Ends the process and all that it has started."""
    for how in (signal.SIGTERM, signal.SIGKILL):
        with suppress(ProcessLookupError):
            os.killpg(process.pid, how)
        with suppress(subprocess.TimeoutExpired):
            process.wait(STOP_SECONDS)
