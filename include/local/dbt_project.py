"""Whether Airflow's tasks are those of the dbt project as it is now."""

from __future__ import annotations

import os

from include.settings import DBT_MANIFEST, DBT_PROJECT, ROOT

# What commands write there.
WRITTEN = {"target", "logs"}

NEWS = (
    f"{DBT_PROJECT.relative_to(ROOT)} has changed: dbt tasks follow by themselves, but for Airflow to show new models "
    "and data tests, and to forget removed ones, run: make manifest"
)


class Watch:
    """Tells once that the project was changed, and again after the next manifest."""

    def __init__(self) -> None:
        self.is_told = False

    def news(self) -> str | None:
        """What to tell, if there is news."""
        was_told, self.is_told = self.is_told, has_changed()
        return NEWS if self.is_told and not was_told else None


def has_changed() -> bool:
    """Whether something of the project is newer than the manifest that Airflow reads: as `make manifest` sees it.

    A folder is newer once a file in it was added or removed.
    """
    try:
        made = DBT_MANIFEST.stat().st_mtime_ns
    except FileNotFoundError:
        return True
    return newest(str(DBT_PROJECT), WRITTEN) > made


def newest(folder: str, without: set[str]) -> int:
    """When something below the folder was last changed."""
    found = 0
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.name == "__pycache__" or entry.name in without:
                continue
            try:
                found = max(found, entry.stat().st_mtime_ns)
                if entry.is_dir(follow_symlinks=False):
                    found = max(found, newest(entry.path, set()))
            except FileNotFoundError:
                continue  # removed a moment ago, as editors do: its folder is newer
    return found
