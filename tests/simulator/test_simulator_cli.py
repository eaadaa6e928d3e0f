"""`python -m include.simulator` and the server around the app."""

import json
import re
import signal
import subprocess
import sys
import time

import pytest
import requests

from include.simulator.__main__ import main
from include.simulator.config import SimulatorConfig
from include.simulator.faults import parse_fault
from include.simulator.server import Simulator, serve
from include.simulator.world import World


def health(simulator):
    return requests.get(simulator.api_url.replace("/helix", "/health"), timeout=30)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_serves_until_it_is_told_to_end(tmp_path, connect, number):
    ready = tmp_path / "ready.json"
    command = [sys.executable, "-m", "include.simulator", "--streams", "150", "--seed", "9", "--still"]
    command += ["--now", "2026-06-01T12:00:00Z", "--fault", "unavailable@2", "--ready-file", str(ready)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        try:
            line = process.stdout.readline()
            urls = re.fullmatch(r"TWITCH_API_URL=(\S+/helix) TWITCH_AUTH_URL=(\S+/oauth2/token)\n", line)
            while not ready.exists():
                time.sleep(0.01)
            assert json.loads(ready.read_text()) == {"api_url": urls[1], "auth_url": urls[2]}
            assert urls[1].startswith("http://127.0.0.1:")
            client = connect(Simulator(urls[1], urls[2], [])).login()
            first = client.page(first=100).json()
            assert first["data"] == World(150, 9).at(1_780_315_200).rows(range(100))
            assert client.page(after=first["pagination"]["cursor"]).status_code == 503
            process.send_signal(number)
            out, err = process.communicate(timeout=60)
        finally:
            process.kill()
    assert (process.returncode, out, err) == (0, "", "")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--streams", "300000"], "streams=300000: must be from 0 to 200,000"),
        (["--streams", "many"], "invalid int value: 'many'"),
        (["--seed", "-1"], "seed=-1"),
        (["--rate-limit", "0"], "rate_limit=0"),
        (["--token-lifetime", "-1"], "token_lifetime=-1.0"),
        (["--fault", "gremlins"], "'gremlins' is no fault"),
        (["--fault-rate", "2"], "fault_rate=2.0: must be from 0 to 1"),
        (["--fault-kinds", "slow,gremlins"], "'gremlins' is no fault"),
        (["--now", "tomorrow"], "'tomorrow' is no time"),
        (["--now", "1960-01-01"], "must be from 1970 to 2100"),
        (["--port", "70000"], "port must be 0-65535"),
        (["--nonsense"], "unrecognized arguments: --nonsense"),
        (["--ready-file", "/nowhere/ready.json"], "No such file or directory"),
    ],
)
def test_bad_option_gets_one_clear_message(capsys, monkeypatch, arguments, message):
    monkeypatch.setattr(signal, "signal", lambda *_: None)
    with pytest.raises(SystemExit) as exit_:
        main(arguments)
    error = capsys.readouterr().err
    assert exit_.value.code == 2
    assert message in error
    assert error.count("\n") == 1


def test_port_in_use(capsys, monkeypatch):
    monkeypatch.setattr(signal, "signal", lambda *_: None)
    with serve(SimulatorConfig(streams=1)) as simulator:
        port = simulator.api_url.split(":")[2].split("/")[0]
        with pytest.raises(SystemExit):
            main(["--port", port])
        assert "Address already in use" in capsys.readouterr().err
        assert health(simulator).ok


@pytest.mark.parametrize(("offset", "seconds"), [("+3h", 10_800), ("-2d", -172_800), ("+90s", 90)])
def test_clock_can_be_shifted(monkeypatch, offset, seconds):
    seen = []

    class Stop(Exception):
        pass

    def capture(config, *_, **__):
        seen.append(config.clock() - time.time())
        raise Stop

    monkeypatch.setattr(signal, "signal", lambda *_: None)
    monkeypatch.setattr("include.simulator.__main__.serve", capture)
    with pytest.raises(Stop):
        main([f"--now={offset}"])
    assert seen[0] == pytest.approx(seconds, abs=2)


def test_slow_answer_does_not_hold_up_the_end(connect):
    with serve(SimulatorConfig(streams=1, faults=(parse_fault("slow~30"),))) as simulator:
        with pytest.raises(requests.ReadTimeout):
            connect(simulator).login().page(timeout=0.1)
        before = time.monotonic()
    assert time.monotonic() - before < 5


def test_secret_stays_out_of_repr_and_output(capfd, connect):
    config = SimulatorConfig(client_secret="keep-me-quiet", streams=1)
    assert "keep-me-quiet" not in repr(config)
    with serve(config) as simulator:
        assert connect(simulator).post_form().status_code == 403
        assert connect(simulator).post_form(client_secret="keep-me-quiet").status_code == 200
    out, err = capfd.readouterr()
    assert out == err == ""
