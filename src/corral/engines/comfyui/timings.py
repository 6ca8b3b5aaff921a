"""How long this adapter waits for an instance; one place, so that tests can make every wait short."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Timings:
    """Deadlines and intervals, all in seconds."""

    check_s: float = 5.0
    """One look at whether the instance answers."""
    request_s: float = 30.0
    """Any short request; an instance that loads a model holds its interpreter lock and answers late."""
    submit_s: float = 60.0
    """Submitting: the instance validates the whole workflow before it answers."""
    transfer_idle_s: float = 60.0
    """Silence that ends an upload or a download; the transfer as a whole is bounded by the attempt."""
    reconnect_s: float = 90.0
    """How long an instance may be away while it owes us a prompt; a restart with many custom nodes takes a minute."""
    settle_s: float = 2.0
    """How long a prompt whose submission broke off may still turn up in the queue of a living instance."""
    poll_s: float = 2.0
    """Between two looks at a prompt while the WebSocket is quiet."""
    cancel_s: float = 20.0
    """Until a cancelled prompt must be gone; a sampler notices an interrupt between two steps."""
    release_s: float = 20.0
    """Until the memory must have fallen after models were asked to unload."""
    retry_s: float = 0.25
    """First pause before something that failed is tried again; doubled each time up to `poll_s`."""
