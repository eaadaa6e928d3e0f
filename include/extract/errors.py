"""The one exception that callers of the extraction see."""

from __future__ import annotations


class ExtractError(RuntimeError):
    """A snapshot could not be taken, and nothing of it was committed.

    The message is for a person: it names the thing and the remedy, on one line, and holds no secret.
    """


class RefusedError(ExtractError):
    """Trying again is of no use: a person has to change the credentials or the settings first."""
