"""Which services on demand the work that waits is for."""

from __future__ import annotations

from datetime import timedelta

import pytest

from corral.deploying.engines import EngineService
from corral.deploying.order import STATEFUL_SET
from corral.server.on_demand import Waiting, find_wanted, is_pod_of
from corral.snapshot import ObjectKey


def a_service(name: str, *models: str, on_demand: bool = False, engine: str = "ollama") -> EngineService:
    return EngineService(
        engine=engine,
        namespace="ai",
        services=frozenset({name}),
        port=11434,
        name=name,
        models=frozenset(models),
        on_demand=(ObjectKey(STATEFUL_SET, "ai", name),) if on_demand else (),
        idle=timedelta(minutes=10),
    )


STEADY = a_service("steady", "llama3")
SMALL = a_service("small", "phi3", "llama3", on_demand=True)


@pytest.mark.parametrize(
    ("services", "waiting", "wanted"),
    [
        ([SMALL], {}, set()),
        ([SMALL], {"comfyui": {None}}, set()),
        ([SMALL], {"ollama": {"phi3"}}, {"small"}),
        ([SMALL], {"ollama": {None}}, {"small"}),
        ([SMALL], {"ollama": {"other"}}, set()),
        ([a_service("open", on_demand=True)], {"ollama": {"other"}}, {"open"}),
        ([STEADY, SMALL], {"ollama": {"phi3"}}, {"small"}),
        ([STEADY, SMALL], {"ollama": {"llama3"}}, set()),
        ([STEADY, a_service("open", on_demand=True)], {"ollama": {"other"}}, set()),
    ],
)
def test_work_wants_the_service_that_alone_can_do_it(
    services: list[EngineService], waiting: Waiting, wanted: set[str]
) -> None:
    assert find_wanted(services, waiting) == wanted


def test_pods_are_known_by_the_name_of_their_workload() -> None:
    assert is_pod_of(SMALL, "small-0")
    assert not is_pod_of(SMALL, "smaller-0")
    assert not is_pod_of(STEADY, "steady-0")
    assert not is_pod_of(SMALL, None)
