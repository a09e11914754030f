"""One attempt that failed, and how long to wait before the next."""

from __future__ import annotations

import datetime
import email.utils
import random
from collections.abc import Mapping

FIRST_WAIT = 1.0
"""Seconds; upper end of the wait before the second attempt. It doubles with every attempt."""
LONGEST_BACKOFF = 60.0
"""Seconds; where the doubling ends: hosted servers count requests by the minute."""
LONGEST_WAIT = 600.0
"""Seconds; a `Retry-After` beyond this is cut to it."""
_LINE = 300


class AttemptFailed(Exception):
    """A backend's attempt that gave no answer.

    Args:
        kind: As in `types.Failure`.
        detail: What was said; cut to one line.
        retry: The same request may succeed later.
        after: Seconds the server asked to wait; None if it did not.
        hopeless: What is wrong concerns every request: no server there, a wrong key, an unknown model.
    """

    def __init__(
        self, kind: str, detail: str, *, retry: bool = False, after: float | None = None, hopeless: bool = False
    ) -> None:
        self.kind = kind
        self.detail = " ".join(detail.split())[:_LINE]
        self.retry = retry
        self.after = after
        self.hopeless = hopeless
        super().__init__(f"{kind}: {self.detail}")


def wait_before(attempt: int, after: float | None) -> float:
    """Seconds to wait after a failed attempt: exponential back-off with full jitter, or what the server asked for.

    Full jitter: uniform between 0 and the doubling bound (M. Brooker, "Exponential Backoff And Jitter", AWS, 2015).
    A server's own `Retry-After` is kept, with up to a tenth more so that not all come back at once.

    Args:
        attempt: The attempt that failed, from 1.
        after: Seconds the server asked to wait.
    """
    if after is not None:
        return min(after, LONGEST_WAIT) * random.uniform(1.0, 1.1)
    return random.uniform(0.0, min(LONGEST_BACKOFF, FIRST_WAIT * 2.0 ** (attempt - 1)))


def retry_after(headers: Mapping[str, str]) -> float | None:
    """Seconds from a `Retry-After` header, which holds seconds or an HTTP date (RFC 9110, 10.2.3); None without one."""
    value = headers.get("retry-after", "").strip()
    if not value:
        return None
    try:
        seconds = float(value)
    except ValueError:
        try:
            date = email.utils.parsedate_to_datetime(value)
        except ValueError:
            return None
        if date.tzinfo is None:
            date = date.replace(tzinfo=datetime.UTC)
        seconds = (date - datetime.datetime.now(datetime.UTC)).total_seconds()
    return max(0.0, seconds) if seconds == seconds else None
