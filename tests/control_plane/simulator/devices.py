"""Which GPUs a container gets: from a device plugin by number, or by the claims that the scheduler has allocated."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping

from control_plane.simulator.objects import EMPTY, Json

RESOURCE = "nvidia.com/gpu"
Fetch = Callable[[str, str], Awaitable[Json]]


class NoDeviceError(Exception):
    """The device plugin has not so many healthy devices free; in the kubelet's words."""


class DevicePlugin:
    """Counts out the devices of a node, as the kubelet does for a device plugin."""

    def __init__(self, devices: Mapping[str, str]) -> None:
        """`devices`: their names, such as gpu-0, and their UUIDs."""
        self._devices = dict(devices)
        self.lost: set[str] = set()
        """Names of those that are unhealthy."""
        self._taken: dict[str, tuple[str, str]] = {}

    def count(self, *, healthy_only: bool) -> int:
        """Count the devices: the node's capacity, or what can be allocated."""
        return len(self._devices.keys() - self.lost) if healthy_only else len(self._devices)

    def take(self, owner: str, container: str, wanted: int) -> list[str]:
        """Give a container its devices, the same ones when asked again. Returns UUIDs. Raises: NoDeviceError."""
        key = (owner, container)
        names = [name for name, taker in self._taken.items() if taker == key]
        free = [name for name in self._devices if name not in self._taken and name not in self.lost]
        missing = wanted - len(names)
        if missing > len(free):
            raise NoDeviceError(
                f"Allocate failed due to requested number of devices unavailable for {RESOURCE}. "
                f"Requested: {wanted}, Available: {len(free)}, which is unexpected"
            )
        for name in free[:missing]:
            self._taken[name] = key
            names.append(name)
        return [self._devices[name] for name in names]

    def release(self, owner: str) -> None:
        """Take back all that a pod has."""
        self._taken = {name: taker for name, taker in self._taken.items() if taker[0] != owner}


async def find_claimed(pod: Json, container: Json, devices: Mapping[str, str], fetch: Fetch) -> list[str]:
    """Find the UUIDs of the devices that the scheduler has allocated to a container by claim."""
    names = await _list_device_names(pod, container, fetch)
    return [devices[name] for name in names if name in devices]


async def _list_device_names(pod: Json, container: Json, fetch: Fetch) -> list[str]:
    made = {
        entry["name"]: entry.get("resourceClaimName")
        for entry in pod.get("status", EMPTY).get("resourceClaimStatuses") or ()
    }
    claims = {
        entry["name"]: entry.get("resourceClaimName") or made.get(entry["name"])
        for entry in pod["spec"].get("resourceClaims") or ()
    }
    names: list[str] = []
    for use in (container.get("resources") or EMPTY).get("claims") or ():
        names += await _read_allocation(claims.get(use["name"]), use.get("request"), fetch)
    extended = pod.get("status", EMPTY).get("extendedResourceClaimStatus") or EMPTY
    for mapping in extended.get("requestMappings") or ():
        if mapping["containerName"] == container["name"]:
            names += await _read_allocation(extended["resourceClaimName"], mapping["requestName"], fetch)
    return list(dict.fromkeys(names))


async def _read_allocation(claim: str | None, request: str | None, fetch: Fetch) -> list[str]:
    value = None if claim is None else await fetch("ResourceClaim", claim)
    allocation = (value or EMPTY).get("status", EMPTY).get("allocation") or EMPTY
    results = (allocation.get("devices") or EMPTY).get("results") or ()
    # A request of several choices is allocated as `request/choice`.
    return [entry["device"] for entry in results if request in (None, entry["request"], entry["request"].split("/")[0])]
