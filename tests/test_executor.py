from __future__ import annotations

import sys

import pytest

from include import executor


def test_what_cannot_be_imported_ahead_is_left_to_the_tasks(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(executor, "PRELOADED", ("include.no_such_module", "include.files"))
    monkeypatch.delitem(sys.modules, "include.files", raising=False)
    started = executor.PreloadingExecutor(parallelism=1)
    started.start()
    try:
        assert len(started.workers) == 1 and all(worker.is_alive() for worker in started.workers.values())
        assert "include.files" in sys.modules
        told = "".join(capfd.readouterr()) + caplog.text
        assert "include.no_such_module cannot be imported ahead" in told and "ModuleNotFoundError" in told
    finally:
        started.end()
