"""The one exception that callers of the extraction see."""

from __future__ import annotations

import errno


class ExtractError(RuntimeError):
    """A snapshot could not be taken, and nothing of it was committed.

    The message is for a person: it names the thing and the remedy, on one line, and holds no secret.
    """


class RefusedError(ExtractError):
    """Trying again is of no use: a person has to change the credentials or the settings first."""


def is_full(error: OSError) -> bool:
    """Whether the disk, or a user's share of it, is used up: no matter of permissions."""
    return error.errno in {errno.ENOSPC, errno.EDQUOT}
