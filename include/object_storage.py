"""What the clouds' libraries have in common: how they are set up, and what goes wrong, in words without a secret."""

from __future__ import annotations

import logging
import os
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from include.settings import SettingsError, missing_cloud

if TYPE_CHECKING:
    from fsspec import AbstractFileSystem

REFUSED = {401, 403}
MISSING = {404}
# What the libraries raise without having asked, or beside a status: Azure's, botocore's, Google's.
REFUSALS = {
    "ClientAuthenticationError",
    "NoCredentialsError",
    "PartialCredentialsError",
    "ProfileNotFound",
    "DefaultCredentialsError",
    "RefreshError",
}
# Signatures travel in query strings, and error texts quote URLs; and Azure's keys in connection strings.
SECRET = re.compile(r"\?[^\s'\"<>)]+|\b(?:sig|AccountKey|SharedAccessSignature)=[^\s;&'\"]+")

# They log each request, with session tokens and signed URLs at level DEBUG, and each failed try; the error says enough.
CHATTY = ("adlfs", "aiobotocore", "azure", "botocore", "gcsfs", "google", "msal", "s3fs", "urllib3")


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
    words = f"{type(error).__name__}: {redact(error)}"
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
    names = {class_.__name__ for class_ in type(error).__mro__}
    return isinstance(error, PermissionError) or not names.isdisjoint(REFUSALS) or status_of(error) in REFUSED


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


def redact(error: BaseException) -> str:
    """The first line of what an error says, without query strings and keys."""
    lines = str(error).strip().splitlines() or [""]
    return SECRET.sub("...", lines[0])[:300]


def by_environment(name: str, url: str) -> tuple[AbstractFileSystem, str]:
    """(A file system with the credentials that the cloud's own library finds in the environment, its word for the URL).

    Args:
        name: of the variable that holds the URL.
        url: of an object store, or a folder.

    Raises:
        SettingsError: that cloud's part is not installed, or its library finds too little.
    """
    prepare_libraries()
    # Imported here: whoever has no such URL does without.
    from fsspec.core import url_to_fs  # noqa: PLC0415

    try:
        fs, root = url_to_fs(url)
    except ImportError:
        raise SettingsError(missing_cloud(url)) from None
    except ValueError as error:
        raise SettingsError(
            f"{name}={url} cannot be asked ({redact(error)}): the environment names no account, key or identity "
            "that its cloud's library would find."
        ) from None
    return fs, root.rstrip("/")
