"""How a worker behaves: limits and times as one value."""

from collections.abc import Mapping
from dataclasses import dataclass

from app.retry import RetryPolicy


@dataclass(frozen=True, slots=True)
class WorkerPolicy:
    """Times are in seconds. ``concurrency`` jobs run at once; one may fail ``max_attempts`` times.

    Before attempt ``n + 1`` there is a random pause of at most ``retry_delay_s * 2 ** (n - 1)``, never more
    than ``max_retry_delay_s``. An attempt takes at most ``time_limit_s``, or what ``time_limits_s`` has for
    its type.
    """

    concurrency: int
    lease_s: float
    poll_s: float
    shutdown_s: float
    max_attempts: int
    retry_delay_s: float
    max_retry_delay_s: float
    time_limit_s: float
    time_limits_s: Mapping[str, float]
    keep_finished_s: float
    most_retry_after_s: float = 3_600.0
    """The longest that a server may have a job wait: whatever it says, somebody has to look some day."""
    settling_s: float = 5.0
    """How long the last settling may take when the time to stop is over: a silent database keeps nobody."""

    def time_limit_of(self, kind: str) -> float:
        """How long an attempt at a job of this type may take."""
        return self.time_limits_s.get(kind, self.time_limit_s)

    def pause_s(self, failures: int, least_s: float) -> float:
        """The pause after that many failures (1 or more): ``least_s`` of it at least, if that is a time to wait."""
        backoff = RetryPolicy(
            total_s=self.max_retry_delay_s,
            first_delay_s=self.retry_delay_s,
            max_delay_s=self.max_retry_delay_s,
        )
        return min(least_s, self.most_retry_after_s) + backoff.pause_s(failures)
