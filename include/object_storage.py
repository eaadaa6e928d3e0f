"""What the clouds' libraries have in common: how they are set up, and what goes wrong, in words without a secret."""

from __future__ import annotations

import logging
import os
import re
from dataclasses import dataclass
from typing import Literal

REFUSED = {401, 403}
MISSING = {404}
# Signatures travel in query strings, and error texts quote URLs.
QUERY = re.compile(r"\?[^\s'\"<>)]+")

# They tell each request, and each try of one that fails; what matters of it is in the error.
CHATTY = ("azure", "gcsfs")


@dataclass(frozen=True)
class Trouble:
    """What a store, or the way to it, has refused to do."""

    kind: Literal["refused", "missing", "unreachable"]
    words: str
    """The library's own, in one line."""


def prepare_libraries() -> None:
    """Before a cloud's library is imported: it is to log next to nothing, and to ask in the way that is tested here."""
    for name in CHATTY:
        logging.getLogger(name).setLevel(logging.CRITICAL)
    # gcsfs would ask for each bucket's kind by another protocol, and wait a minute where that is blocked.
    os.environ.setdefault("GCSFS_EXPERIMENTAL_ZB_HNS_SUPPORT", "false")


def trouble_of(error: BaseException) -> Trouble | None:
    """What the error of a cloud's library means; None for one that is none of theirs.

    Known by status codes and names, since no cloud's classes are there to import unless it is installed.
    """
    if type(error).__module__ == "builtins" and not isinstance(error, OSError):
        return None
    words = f"{type(error).__name__}: {shortened(error)}"
    causes = chain(error)
    if any(is_refusal(cause) for cause in causes):
        return Trouble("refused", words)
    if any(is_missing(cause) for cause in causes):
        return Trouble("missing", words)
    return Trouble("unreachable", words)


def chain(error: BaseException) -> list[BaseException]:
    """The error, and those that led to it."""
    causes = [error]
    while below := causes[-1].__cause__ or causes[-1].__context__:
        causes.append(below)
    return causes


def is_refusal(error: BaseException) -> bool:
    """Whether the store knows us not, or does not let us."""
    names = {"ClientAuthenticationError", "NoCredentialsError", "RefreshError", "DefaultCredentialsError"}
    return isinstance(error, PermissionError) or type(error).__name__ in names or status_of(error) in REFUSED


def is_missing(error: BaseException) -> bool:
    """Whether the container is not there, or the folder."""
    return (
        isinstance(error, FileNotFoundError)
        or type(error).__name__ == "ResourceNotFoundError"
        or status_of(error) in MISSING
    )


def status_of(error: BaseException) -> int | None:
    """The HTTP status, where the libraries keep it: Azure's, Google's, botocore's."""
    response = getattr(error, "response", None)
    if isinstance(response, dict):
        code: int | None = response.get("ResponseMetadata", {}).get("HTTPStatusCode")
        return code
    for status in (getattr(error, "status_code", None), getattr(error, "code", None)):
        if isinstance(status, int):
            return status
    return None


def shortened(error: BaseException) -> str:
    """The first line of what an error says, without query strings."""
    lines = str(error).strip().splitlines() or [""]
    return QUERY.sub("?...", lines[0])[:300]
