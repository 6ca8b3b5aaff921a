"""What a reload answers, and what it leaves for the next start."""

from __future__ import annotations

from datetime import UTC, datetime

from corral.cluster import Cluster, load
from corral.operations.reloading import Edit, LocalCluster, ReloadAsked, reload_cluster
from corral.slots.registry import Registry
from corral.slots.values import Difference, Hold, HoldKind, Wanted
from corral.work import SlotId
from doubles.engines import ScriptedEngine
from doubles.yard import make_slots


def a_cluster(data_dir: str, more: str = "") -> Cluster:
    return load(
        f"apiVersion: corral/v1\nname: home\ndataDir: {data_dir}\nnodes: [{{name: pc}}]\n{more}", filename="home.yaml"
    )


class Server:
    """Follows whatever it is given, as a running server does with what needs no restart; its slots are real ones."""

    def __init__(self, cluster: Cluster, wanted: Wanted = Wanted()) -> None:  # noqa: B008 (a frozen value)
        self.cluster = self.at_start = cluster
        self.slots = Registry(wanted)

    def compare_slots(self, wanted: Wanted) -> Difference:
        return self.slots.compare(wanted)

    def put_into_effect(self, local: LocalCluster) -> None:
        self.slots.apply(self.slots.compare(local.wanted))
        self.cluster = local.cluster


async def test_what_takes_effect_at_the_next_start_is_reported_until_then() -> None:
    server = Server(a_cluster("/a"))
    edited = LocalCluster(cluster=a_cluster("/b"), wanted=Wanted())
    answers = [await reload_cluster(server, lambda: edited, ReloadAsked()) for _ in range(2)]
    assert [answer.at_next_start for answer in answers] == [("the data directory: /a -> /b",)] * 2


async def test_file_that_is_back_as_it_was_differs_in_nothing() -> None:
    server = Server(a_cluster("/a"))
    for folder in ("/b", "/a"):
        here = LocalCluster(cluster=a_cluster(folder), wanted=Wanted())
        answer = await reload_cluster(server, lambda here=here: here, ReloadAsked())
    assert answer.at_next_start == ()


async def test_engine_that_is_turned_on_without_a_slot_is_among_the_differences() -> None:
    server = Server(a_cluster("/a"))
    edited = LocalCluster(cluster=a_cluster("/a", "engines: {command: {enabled: true}}\n"), wanted=Wanted())
    answers = [await reload_cluster(server, lambda: edited, ReloadAsked()) for _ in range(2)]
    assert [answer.settings for answer in answers] == [("engines.command.enabled: false -> true",), ()]


async def test_differences_have_the_keys_of_the_cluster_file() -> None:
    server = Server(a_cluster("/a"))
    more = """
server: {requireToken: true, limits: {perOwner: {streams: 3}}}
retention: {tasks: 7d}
scheduling: {promoteAfter: 2h, modelWait: 3h, guestWait: 90s, preempt: {after: 20s}}
timeZone: Europe/Berlin
webhooks: {allowPrivate: [192.168.1.0/24]}
gateway: {ollama: {port: 11434, owner: family}}
"""
    edited = LocalCluster(cluster=a_cluster("/a", more), wanted=Wanted())
    answer = await reload_cluster(server, lambda: edited, ReloadAsked(dry_run=True))
    assert answer.settings == (
        "timeZone: not set -> Europe/Berlin",
        "retention.tasks: 30d 00h -> 7d 00h",
        "server.requireToken: false -> true",
        "server.limits.perOwner.streams: 32 -> 3",
        "gateway.ollama: added",
        "webhooks.allowPrivate: not set -> 192.168.1.0/24",
        "scheduling.promoteAfter: 1h 00m -> 2h 00m",
        "scheduling.modelWait: 24h 00m -> 3h 00m",
        "scheduling.guestWait: 1m 00s -> 1m 30s",
        "scheduling.preempt.after: not set -> 20.0s",
    )


async def test_drain_of_an_earlier_reload_is_reported_until_its_task_has_ended() -> None:
    server = Server(a_cluster("/a"), make_slots(ScriptedEngine()))
    hold = Hold(kind=HoldKind.TASK, owner="ada", label="task 12", since=datetime(2026, 7, 1, tzinfo=UTC))
    (place,) = server.slots
    place.hold(hold)
    empty = LocalCluster(cluster=a_cluster("/a"), wanted=Wanted())
    slot = Edit(name=SlotId("node/cpu0/sleep"), waits_for="task 12 of ada")
    first = await reload_cluster(server, lambda: empty, ReloadAsked())
    assert (first.removed, first.pending) == ((slot,), ())
    dry_run = await reload_cluster(server, lambda: empty, ReloadAsked(dry_run=True))
    assert (dry_run.removed, dry_run.pending) == ((), (slot,))
    server.slots.release([place], hold)
    assert (await reload_cluster(server, lambda: empty, ReloadAsked(dry_run=True))).pending == ()


async def test_programs_that_go_first_are_among_the_differences() -> None:
    def with_gpu(gpu: str) -> Cluster:
        text = f"apiVersion: corral/v1\nname: home\nnodes: [{{name: pc, gpus: [{gpu}]}}]\n"
        return load(text, filename="home.yaml")

    server = Server(with_gpu("{yieldTo: {programs: [steam]}}"))
    edited = LocalCluster(cluster=with_gpu("{yieldTo: {programs: [steam, game], quiet: 1m}}"), wanted=Wanted())
    removed = LocalCluster(cluster=with_gpu("{}"), wanted=Wanted())

    changed = await reload_cluster(server, lambda: edited, ReloadAsked(dry_run=True))
    gone = await reload_cluster(server, lambda: removed, ReloadAsked(dry_run=True))

    assert changed.settings == (
        "nodes.pc.gpus.0.yieldTo.programs: steam -> steam, game",
        "nodes.pc.gpus.0.yieldTo.quiet: 5m 00s -> 1m 00s",
    )
    assert gone.settings == ("nodes.pc.gpus.0.yieldTo: removed",)
