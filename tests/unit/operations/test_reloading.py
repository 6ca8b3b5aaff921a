"""What a reload answers, and what it leaves for the next start."""

from __future__ import annotations

from corral.cluster import Cluster, load
from corral.operations.reloading import LocalCluster, ReloadAsked, reload_cluster
from corral.slots.values import Difference, Wanted


def a_cluster(data_dir: str) -> Cluster:
    return load(
        f"apiVersion: corral/v1\nname: home\ndataDir: {data_dir}\nnodes: [{{name: pc}}]\n", filename="home.yaml"
    )


class Server:
    """Follows whatever it is given, as a running server does with what needs no restart."""

    def __init__(self, cluster: Cluster) -> None:
        self.cluster = self.at_start = cluster

    def compare_slots(self, wanted: Wanted) -> Difference:
        return Difference(wanted=wanted)

    def put_into_effect(self, local: LocalCluster) -> None:
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
