"""The cluster as records: pools, resource profiles and workload profiles before and after.

Corral keeps these in the cluster file and not in its database. A pool of the file is what a queue reads, and a task
names a queue rather than a card; so an upgrade migrates no table and rewrites no task.

No SQL is written for tables of others. A script for a table that nobody has seen guesses at its columns; dropping one
cannot be undone, and a column whose default is a node's name writes today's machines into every row to come.
"""

from __future__ import annotations

from dataclasses import dataclass

from corral.cluster.values import Cluster
from corral.hardware.pools import GpuPool, pools_of
from corral.hardware.profiles import ResourceProfile, WorkloadProfile, resource_profiles, workload_profiles


@dataclass(frozen=True, slots=True, kw_only=True)
class Records:
    """What other programs would store about a cluster."""

    pools: tuple[GpuPool, ...]
    classes: tuple[str, ...]
    """Every class of card, each once: the values that a `gpuClass` may have."""
    resources: tuple[ResourceProfile, ...]
    workloads: tuple[WorkloadProfile, ...]


def records_of(cluster: Cluster) -> Records:
    """Make the records of a cluster, in the order of its file."""
    pools = pools_of(cluster)
    return Records(
        pools=pools,
        classes=tuple(dict.fromkeys(one for pool in pools for one in pool.classes)),
        resources=tuple(profile for node in cluster.nodes for profile in resource_profiles(node)),
        workloads=workload_profiles(cluster),
    )
