"""Replicas of services: on Kubernetes by the objects that `corral render` writes for them, elsewhere by asking."""

from __future__ import annotations

from collections.abc import Iterator

from corral.cluster.values import Cluster
from corral.planning.checklist.outlook import Outlook
from corral.planning.checklist.probes import ReplicasReady
from corral.planning.checklist.values import Command, Item, Phase, Question, Work
from corral.planning.rendered import KubernetesWorkload

_WHY_SCALE = {
    "Deployment": "scale alone: an update that starts pods before it stops old ones may wait for ever for a GPU (A02)",
    "StatefulSet": "the replicas that are there keep running; the Service of each new one comes with its rendered file",
}


def replica_items(before: Cluster, after: Cluster, outlook: Outlook) -> Iterator[Item]:
    """List what has other replicas than before; those that get fewer first, since they free what others wait for."""
    changed = sorted(_changed(outlook), key=lambda pair: not (pair[0] and pair[1].replicas < pair[0].replicas))
    for old, new in changed:
        yield from _of_workload(old, new, is_one_of_several=_count(changed, new) > 1)
    rendered = {name for one in outlook.after.workloads for name in one.services}
    for service in after.services.values():
        known = before.services.get(service.name)
        if service.name not in rendered and service.replicas != (known.replicas if known else 0):
            yield _item(
                f"replicas.{service.name}",
                title=f"{service.name}: {_replicas(service.replicas)}",
                why="the file says so, and nothing that is rendered from it brings them",
                work=Question(text=f"do {service.replicas} of {service.name} run and answer?"),
            )


Pair = tuple[KubernetesWorkload | None, KubernetesWorkload]


def _changed(outlook: Outlook) -> list[Pair]:
    """Pair what is new or has other replicas with what it was; what several layouts share, once."""
    old = {(one.layout, one.services): one for one in outlook.before.workloads}
    found: dict[tuple[object, ...], Pair] = {}
    for new in outlook.after.workloads:
        known = old.get((new.layout, new.services))
        before = known if known and known.identity == new.identity else None
        if before is None or before.replicas != new.replicas:
            key = (new.identity, new.services, new.replicas, before and before.replicas)
            found.setdefault(key, (before, new))
    return list(found.values())


def _count(changed: list[Pair], new: KubernetesWorkload) -> int:
    return sum(one.services == new.services for _, one in changed)


def _of_workload(old: KubernetesWorkload | None, new: KubernetesWorkload, *, is_one_of_several: bool) -> Iterator[Item]:
    names = ", ".join(new.services)
    layout = f" in the layout {new.layout}" if is_one_of_several else ""
    what = f"{new.services[0]}.{new.layout}" if is_one_of_several else new.services[0]
    title = f"{names}: {_replicas(new.replicas)}{layout}"
    if old is None:
        deploy = Question(text=f"is the {new.kind} {new.name} applied, as `corral render` writes it?")
        yield _item(f"deploy.{what}", title=f"{names}: deploy it{layout}", why="it is new", work=deploy)
    else:
        target = f"{new.kind.lower()}/{new.name}"
        yield _item(
            f"scale.{what}",
            title=f"{title}: scale the {new.kind}",
            why=_WHY_SCALE[new.kind] if new.replicas else "it takes turns, and leaves its card to who needs it now",
            work=Command(line=f"kubectl -n {new.namespace} scale {target} --replicas={new.replicas}"),
        )
    probe = ReplicasReady(kind=new.kind, name=new.name, namespace=new.namespace, replicas=new.replicas)
    why = "a replica without a GPU of its own stays Pending, and nothing else tells"
    yield _item(f"replicas.{what}", title=f"{title}: ready", why=why, work=probe)


def _replicas(count: int) -> str:
    return "1 replica" if count == 1 else f"{count or 'no'} replicas"


def _item(what: str, *, title: str, why: str, work: Work) -> Item:
    return Item(id=f"workload.{what}", phase=Phase.WORKLOAD, title=title, why=why, work=work)
