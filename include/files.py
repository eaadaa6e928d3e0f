"""What a file needs to outlive its process: to reach the disk, and to be known as abandoned."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path

# A folder's fsync on file systems that have none, such as CIFS.
NO_SYNC = {errno.EINVAL, errno.ENOTSUP, errno.ENOSYS}


def sync(path: Path) -> None:
    """Forces a file's or a folder's content to the disk; a folder's only where its file system can do that."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in NO_SYNC or not path.is_dir():
            raise
    finally:
        os.close(descriptor)


def replace_file(source: str, target: str) -> str:
    """Moves the finished file `source` into the place of `target`, on the same filesystem, in one step; returns it.

    It reaches the disk before the rename, so that a power cut cannot leave an empty file under the final name.

    Raises:
        OSError: among others, the target's folder is linked to another file system than its data set.
    """
    sync(Path(source))
    try:
        Path(source).replace(target)
    except OSError as error:
        if error.errno != errno.EXDEV:
            raise
        folder = Path(target).parent
        raise OSError(
            f"{folder} is on another file system than its data set: move it back, or link the whole data set"
        ) from None
    sync(Path(target).parent)
    return target


@contextlib.contextmanager
def held(path: Path) -> Iterator[None]:
    """Keeps an empty file at `path` while the block runs, locked by this process.

    The lock ends with the process, however it dies; the file then stays, and `abandoned` knows it.
    """
    while True:
        descriptor = os.open(path, os.O_CREAT | os.O_RDWR, 0o666)
        # Where the file system has no locks, nobody can take the file for abandoned either.
        with contextlib.suppress(OSError):
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        # Before it was locked, another process may have taken it for abandoned and removed it.
        if is_at(descriptor, path):
            break
        os.close(descriptor)
    try:
        yield
    finally:
        path.unlink(missing_ok=True)
        os.close(descriptor)


@contextlib.contextmanager
def abandoned(path: Path) -> Iterator[bool]:
    """Whether the file was `held` by a process that died; if so, the block holds it, and it is removed after."""
    try:
        descriptor = os.open(path, os.O_RDWR)
    except OSError:
        yield False
        return
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            is_ours = is_at(descriptor, path)
        except OSError:
            is_ours = False
        yield is_ours
        if is_ours:
            path.unlink(missing_ok=True)
    finally:
        os.close(descriptor)


def is_at(descriptor: int, path: Path) -> bool:
    """Whether the open file is the one that the path names."""
    try:
        return os.path.samestat(os.fstat(descriptor), path.stat())
    except FileNotFoundError:
        return False
