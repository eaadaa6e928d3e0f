"""What to tell when the object store does not do what it is asked."""

from __future__ import annotations

from include.object_storage import chain, trouble_of

STATE = "Each file there is as it was, or whole as it is to be"


class PublishError(RuntimeError):
    """Publishing stopped; the message says why and what to do. It may go better the next time."""


class FinalPublishError(PublishError):
    """Publishing stopped, and will until somebody changes something."""


def explained(error: BaseException, url: str) -> PublishError | None:
    """An error of ours for whatever a cloud's library raised, without any secret; None if it is none of theirs.

    Args:
        error: what was raised.
        url: of the place that was asked (`REPORTING_URL`).
    """
    for cause in chain(error):
        if isinstance(cause, PublishError):
            return cause
    trouble = trouble_of(error)
    if trouble is None:
        return None
    if trouble.kind == "refused":
        return FinalPublishError(
            f"{url} refused access ({trouble.words}). Check the Airflow connection `reporting`, or by hand the "
            "credentials in the environment; of a folder, its owner and mode: it must be possible to list, read, write "
            f"and delete there. {STATE}."
        )
    if trouble.kind == "missing":
        return FinalPublishError(
            f"{url} does not exist ({trouble.words}). Create the container, bucket or folder, or correct REPORTING_URL."
        )
    return PublishError(f"{url} could not be reached, or broke off ({trouble.words}). {STATE}; the next run goes on.")
