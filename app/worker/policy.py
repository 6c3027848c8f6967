"""Apply the worker's settings to a job: an attempt's time limit, and the pause after a failure."""

from app.retry import RetryPolicy
from app.settings.sections import WorkerSettings

MOST_RETRY_AFTER_S = 3_600.0
"""The longest pause that a server's Retry-After can ask of a job."""


def time_limit_of(job_type: str, settings: WorkerSettings) -> float:
    """The seconds that an attempt at a job of this type may take."""
    return settings.time_limits.get(job_type, settings.time_limit)


def pause_after(failures: int, least_s: float, settings: WorkerSettings) -> float:
    """The seconds to wait after that many failures (from 1): ``least_s`` plus a random backoff.

    The backoff after failure ``n`` is at most ``retry_delay * 2 ** (n - 1)``, and never more than
    ``max_retry_delay``.
    """
    backoff = RetryPolicy(
        total_s=settings.max_retry_delay,
        first_delay_s=settings.retry_delay,
        max_delay_s=settings.max_retry_delay,
    )
    return min(least_s, MOST_RETRY_AFTER_S) + backoff.pause_s(failures)
