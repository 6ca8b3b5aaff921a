"""Hours of each day in which people are not notified. Pure: the time is given."""

from __future__ import annotations

from datetime import datetime, time
from zoneinfo import ZoneInfo

from corral.cluster.receivers import NotifyTarget


def is_quiet(target: NotifyTarget, now: datetime) -> bool:
    """Whether nothing is sent to a target now; `now` has a time zone.

    The clock on the wall counts, also on the days when it is changed: an hour that comes twice is quiet twice.
    """
    if target.quiet_hours is None:
        return False
    local = now.astimezone(None if target.time_zone is None else ZoneInfo(target.time_zone)).time()
    begin, _, end = target.quiet_hours.partition("-")
    first, last = time.fromisoformat(begin), time.fromisoformat(end)
    if first < last:
        return first <= local < last
    return local >= first or local < last
