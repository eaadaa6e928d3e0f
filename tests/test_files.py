from __future__ import annotations

import os
from pathlib import Path

import pytest

from include.files import sync


@pytest.mark.promise("the file system cannot fsync a folder", "nothing stops")
def test_a_folder_that_cannot_be_synced_stops_nothing_and_a_file_does() -> None:
    """/proc answers EINVAL, as CIFS and other shares do for folders."""
    for path in ("/proc", "/proc/self/status"):
        descriptor = os.open(path, os.O_RDONLY)
        with pytest.raises(OSError, match="Invalid argument"):
            os.fsync(descriptor)
        os.close(descriptor)
    sync(Path("/proc"))
    with pytest.raises(OSError, match="Invalid argument"):
        sync(Path("/proc/self/status"))
