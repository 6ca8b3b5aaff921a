"""The parts of a running server that its HTTP API works with; `runtime` and the tests put them together."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Protocol

from corral.cluster.values import Cluster
from corral.engines.servers.directory import Directory
from corral.engines.surveying import Surveyor
from corral.errors import Problem
from corral.operations.reloading import ReloadAnswer, ReloadAsked
from corral.scheduling.estimating import Estimator
from corral.scheduling.values import Explanation
from corral.server.job_files import JOB_FILES_FOLDER, JobFiles
from corral.server.keys.keeping import Keys
from corral.server.listeners import Listeners
from corral.server.sessions import LinkCodes
from corral.slots.guests import GuestDesk
from corral.tasks.alarms import Alarms
from corral.tasks.artifacts import ArtifactStore
from corral.tasks.board import Board
from corral.tasks.guest_counts import GuestCounts
from corral.tasks.store.pool import Pool
from corral.weights.store import Store
from corral.work import SlotId


class ReloadableCluster(Protocol):
    """The cluster file that the server follows."""

    @property
    def cluster(self) -> Cluster:
        """The file in effect."""
        ...

    async def reload(self, asked: ReloadAsked) -> ReloadAnswer:
        """Read the file again. Raises: ClusterFileError, ProblemsError, SettingsError."""
        ...


async def ignore_models() -> None:
    """Do nothing: a server without slots knows no models."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Services:
    """The parts of a running server that its API uses."""

    in_effect: ReloadableCluster
    pool: Pool
    keys: Keys
    """Tokens of clients, in memory."""
    board: Board
    artifacts: ArtifactStore
    weights: Store
    explain: Callable[[int], Explanation | None]
    """Why a queued task waits, from the dispatcher; None when it does not know the task (or stands by)."""
    explain_several: Callable[[Collection[int]], Mapping[int, Explanation]] = lambda _: {}
    """As `explain`, of several tasks at the cost of one, without their slots; what would start now is left out."""
    explain_start: Callable[[str, str | None], str | None] = lambda _engine, _model: None
    """Why a task for an engine and a model waits for the start of a service; None where it does not."""
    list_startable: Callable[[], Collection[tuple[str, str]]] = tuple
    """The engines and models of services that work starts, whether they run now or not."""
    estimate: Estimator
    """When work would be done, from the dispatcher."""
    find_delivery_problem: Callable[[str], Problem | None] = lambda _: None
    """Why outputs cannot be written below a folder now; None when they can, or that was not tried."""
    wake_holds: Callable[[], None] = lambda: None
    """Look at the holds at once: one was changed."""
    data_dir: Path
    cluster_file: Path
    database_url: str = field(repr=False)
    """It can hold a password."""
    local_token: str
    """Grants local commands entry; written only to `server.json`."""
    loopback: bool
    """Whether requests without a token can be trusted: the server listens on loopback alone, and was not started with
    `--require-token`."""
    started_at: datetime
    alarms: Alarms = field(default_factory=Alarms)
    directory: Directory = field(default_factory=Directory)
    """Where instances are, those included whose servers Corral runs."""
    refresh_models: Callable[[], Awaitable[None]] = ignore_models
    """Have slots look at once which models their servers have: some were changed."""
    listeners: Listeners = field(default_factory=Listeners)
    """The ports of their own that doors have."""
    guests: GuestDesk | None = None
    """Where requests of doors get their turns; None where the server gives none."""
    guest_counts: GuestCounts = field(default_factory=GuestCounts)
    """What became of such requests, for the metrics."""
    joules: Mapping[SlotId, float] = field(default_factory=dict[SlotId, float])
    """The energy that each GPU of this machine drew since the server started, as far as it was measured."""
    console_url: str = ""
    """Where people reach the console."""
    link_codes: LinkCodes = field(default_factory=LinkCodes)
    """Codes of links to the console that are not used yet."""
    surveyor: Surveyor = field(default_factory=Surveyor)
    """Remembers the models and parts of the instances of engines."""

    @property
    def trusts_loopback(self) -> bool:
        """Whether requests without a token are those of the local administrator now."""
        return self.loopback and not self.cluster.server.require_token

    @property
    def job_files(self) -> JobFiles:
        """The files of jobs that run elsewhere."""
        return JobFiles(self.data_dir / JOB_FILES_FOLDER, self.artifacts)

    @property
    def cluster(self) -> Cluster:
        """The cluster file in effect."""
        return self.in_effect.cluster
