"""The end of `make up`, by a kill and by Ctrl-C: the one that is stopped is started after another one was killed."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from dataclasses import dataclass

import psutil
import pytest
from machine import Machine, Up, running_up

from include.local.services import free_port

pytestmark = pytest.mark.airflow


@dataclass
class Again:
    """A `make up` that took the place of a killed one.

    `left` is what the kill left running, `still_there` what of it the second `make up` did not end.
    """

    left: list[psutil.Process]
    still_there: list[psutil.Process]
    up: Up


@pytest.fixture(scope="module")
def again(machine: Machine) -> Iterator[Again]:
    with running_up(machine, PORT=str(free_port())) as up:
        url, family = up.url, [up.process, *up.process.children(recursive=True)]
        # make, and what it started; Airflow's own processes go on, and keep their port.
        for process in [up.process, *up.process.children()]:
            process.kill()
    left = [process for process in family if process.is_running()]
    with running_up(machine, PORT=url.rsplit(":", 1)[1]) as up:
        yield Again(left, psutil.wait_procs(left, timeout=30)[1], up)


@pytest.mark.promise("`make up` itself is killed", "the next command ends what it left running, and goes on")
def test_what_a_kill_leaves_running_stops_nothing(again: Again) -> None:
    assert again.left
    assert again.still_there == []


def test_ctrl_c_stops_every_process_also_when_it_is_pressed_again(again: Again) -> None:
    up = again.up
    family = [up.process, *up.process.children(recursive=True)]
    assert len(family) > 5
    # make passes a signal on to what it started, so that one alone may come twice.
    for wait in (0.1, 0.3, 0):
        os.killpg(up.process.pid, signal.SIGINT)
        time.sleep(wait)
    _, alive = psutil.wait_procs(family, timeout=60)
    assert alive == []
