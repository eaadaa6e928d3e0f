"""Who may read the secrets on this machine."""

from __future__ import annotations

from pathlib import Path

import pytest

from include import settings
from include.local import home


@pytest.mark.promise(
    "other users may read `.env` or the Airflow home", "a warning with the command; the home is closed"
)
@pytest.mark.parametrize("before, after", [(0o755, 0o700), (0o750, 0o700), (0o700, 0o700), (0o1777, 0o1777)])
def test_an_airflow_home_that_others_may_look_into_is_closed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, before: int, after: int
) -> None:
    monkeypatch.setenv("LOCAL_AIRFLOW_HOME", str(tmp_path / "home"))
    (tmp_path / "home").mkdir()
    (tmp_path / "home").chmod(before)
    assert home.folder().stat().st_mode & 0o7777 == after


@pytest.mark.promise("other users may read `.env` or the Airflow home")
@pytest.mark.parametrize("mode, is_told", [(0o644, True), (0o640, True), (0o600, False), (None, False)])
def test_an_env_file_that_others_may_read_is_told(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    mode: int | None,
    is_told: bool,
) -> None:
    monkeypatch.setattr(settings, "ROOT", tmp_path)
    monkeypatch.setenv("LOCAL_AIRFLOW_HOME", str(tmp_path / "home"))
    if mode is not None:
        (tmp_path / ".env").write_text("CLIENT_SECRET=a-secret")
        (tmp_path / ".env").chmod(mode)
    home.environment(8080)
    told = capsys.readouterr().err
    warning = f"Warning: other users may read the secrets in {tmp_path}/.env: chmod 600 {tmp_path}/.env\n"
    assert told == (warning if is_told else "")
