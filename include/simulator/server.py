"""Serves the simulator on a socket, in a thread of its own."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import uvicorn

from include.simulator.app import ServedRequest, create_app
from include.simulator.config import SimulatorConfig


@dataclass(frozen=True)
class Simulator:
    """A simulator that listens.

    Args:
        api_url: ends in `/helix`.
        auth_url: ends in `/oauth2/token`.
        requests: what was served so far, oldest first; stays empty without a log.
    """

    api_url: str
    auth_url: str
    requests: list[ServedRequest]


@contextmanager
def serve(
    config: SimulatorConfig, port: int = 0, host: str = "127.0.0.1", *, log_requests: bool = True
) -> Iterator[Simulator]:
    """Runs a simulator while the block runs.

    Args:
        config: its settings.
        port: 0: any free one.
        host: the address to bind; the loopback is for this machine only.
        log_requests: keep every request in memory; a server that runs for days should not.

    Raises:
        OSError: the address cannot be bound.
        ValueError: `streams`, `seed` or the clock is out of range.
    """
    requests: list[ServedRequest] = []
    app = create_app(config, requests if log_requests else None)
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.create_server((host, port), family=family) as listener:
        server = uvicorn.Server(
            # A slow answer under way would hold up the end by its whole delay.
            uvicorn.Config(app, log_config=None, log_level="error", access_log=False, timeout_graceful_shutdown=1)
        )
        thread = threading.Thread(target=server.run, args=([listener],), name="simulator", daemon=True)
        thread.start()
        try:
            while not server.started:
                if not thread.is_alive():
                    raise RuntimeError("the simulator's server did not start; its log says why")
                time.sleep(0.005)
            address = f"[{host}]" if family is socket.AF_INET6 else host
            base = f"http://{address}:{listener.getsockname()[1]}"
            yield Simulator(f"{base}/helix", f"{base}/oauth2/token", requests)
        finally:
            server.should_exit = True
            thread.join()
