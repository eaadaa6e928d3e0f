"""What to tell when the object store does not do what it is asked."""

from __future__ import annotations

import re

REFUSED = {401, 403}
MISSING = {404}
# Signatures travel in query strings, and error texts quote URLs.
QUERY = re.compile(r"\?[^\s'\"<>)]+")


class PublishError(RuntimeError):
    """Publishing stopped; the message says why and what to do. It may go better the next time."""


class FinalPublishError(PublishError):
    """Publishing stopped, and will until somebody changes something."""


def explained(error: BaseException, url: str) -> PublishError | None:
    """An error of ours for whatever a cloud's library raised, without any secret; None if it is none of theirs.

    Known by status codes and names, since no cloud's classes are there to import unless it is installed.

    Args:
        error: what was raised.
        url: of the place that was asked (`REPORTING_URL`).
    """
    chain = [error]
    while below := chain[-1].__cause__ or chain[-1].__context__:
        chain.append(below)
    for cause in chain:
        if isinstance(cause, PublishError):
            return cause
    if type(error).__module__ == "builtins" and not isinstance(error, OSError):
        return None
    words = f"{type(error).__name__}: {shortened(error)}"
    if any(is_refusal(cause) for cause in chain):
        return FinalPublishError(
            f"{url} refused access ({words}). Check the Airflow connection `reporting`: its key, and that it may list, "
            "read, write and delete there. Each file there is as it was."
        )
    if any(is_missing(cause) for cause in chain):
        return FinalPublishError(
            f"{url} does not exist ({words}). Create the container, bucket or folder, or correct REPORTING_URL."
        )
    return PublishError(
        f"{url} could not be reached, or broke off ({words}). Each file there is as it was, or whole as it is to be; "
        "the next run goes on."
    )


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
