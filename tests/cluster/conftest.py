"""One control plane for all tests here, also when they run in several processes; a namespace per test.

`CORRAL_PLANE=FOLDER` uses one that runs already (`python -m control_plane.plane`, from the folder `tests`).
"""

from __future__ import annotations

import os
import threading
from collections.abc import Generator, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from urllib.error import HTTPError
from uuid import uuid4

import pytest

from control_plane.cluster import Cluster, Simulator, run_plane_with_nodes
from control_plane.plane import Plane, find_missing, read_plane
from control_plane.scenes import Scene, show_now
from control_plane.simulator.node_object import GROUP_LABEL, SELECTOR

_VARIABLE = "CORRAL_PLANE"
_BEAT_S = 2.0
_running = pytest.StashKey[ExitStack]()


def pytest_configure(config: pytest.Config) -> None:
    """Start the plane in the process that starts the others."""
    is_first = not hasattr(config, "workerinput")
    if is_first and config.option.numprocesses and _VARIABLE not in os.environ and find_missing() is None:
        stack = config.stash[_running] = ExitStack()
        os.environ[_VARIABLE] = str(stack.enter_context(run_plane_with_nodes()).folder)


def pytest_unconfigure(config: pytest.Config) -> None:
    """Stop the plane that was started above."""
    if _running in config.stash:
        config.stash[_running].close()
        del os.environ[_VARIABLE]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark what needs a control plane."""
    here = Path(__file__).parent
    for item in items:
        if here in item.path.parents:
            item.add_marker("cluster")


@pytest.fixture(scope="session")
def plane() -> Iterator[Plane]:
    """The control plane of this run."""
    running = os.environ.get(_VARIABLE)
    if running is not None:
        yield read_plane(Path(running))
        return
    missing = find_missing()
    if missing is not None:
        pytest.fail(missing)
    with run_plane_with_nodes() as started:
        yield started


@contextmanager
def lend_namespace(plane: Plane, *, is_open: bool) -> Generator[str]:
    """Make a namespace; unless it is open, its pods run on nodes of its own alone.

    Else a pod of a test without nodes ends up on those of the test beside it, takes its GPUs and pulls its images.
    """
    name = f"test-{uuid4().hex[:8]}"
    annotations = {} if is_open else {SELECTOR: f"{GROUP_LABEL}={name}"}
    plane.ask("POST", "/api/v1/namespaces", {"metadata": {"name": name, "annotations": annotations}})
    yield name
    with suppress(HTTPError):  # its nodes have ended it
        plane.ask("DELETE", f"/api/v1/namespaces/{name}")


@pytest.fixture
def namespace(plane: Plane) -> Iterator[str]:
    """A namespace of the test's own."""
    with lend_namespace(plane, is_open=False) as name:
        yield name


@pytest.fixture
def cluster(plane: Plane, namespace: str) -> Iterator[Cluster]:
    """Nodes of the test's own, and what runs on them."""
    lent = Cluster(plane, Simulator(plane.folder), namespace)
    yield lent
    lent.close()


@pytest.fixture
def scene(plane: Plane) -> Iterator[Scene]:
    """A namespace and nodes of the test's own; their leases are renewed until it ends."""
    with lend_namespace(plane, is_open=True) as namespace:
        yield from run_scene(plane, namespace)


def run_scene(plane: Plane, namespace: str) -> Iterator[Scene]:
    """Keep the nodes of a scene ready until it ends."""
    scene = Scene(plane, namespace, uuid4().hex[:6])
    ended = threading.Event()

    def beat() -> None:
        while not ended.wait(_BEAT_S):
            for node in tuple(scene.nodes):
                path = f"/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases/{node}"
                with suppress(OSError):  # the next beat comes soon
                    plane.ask("PATCH", path, {"spec": {"renewTime": show_now()}}, "application/merge-patch+json")

    thread = threading.Thread(target=beat, daemon=True)
    thread.start()
    yield scene
    ended.set()
    thread.join()
    for path in reversed(scene.made):
        with suppress(HTTPError):
            plane.ask("DELETE", path)
