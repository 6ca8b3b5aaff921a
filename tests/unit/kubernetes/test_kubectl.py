"""An API server that gives no answer is reported with the call and with what kubectl said."""

from __future__ import annotations

import pytest

from corral.kubernetes import Kubectl, KubernetesError, NodeState, Ran, observe_node


class Answering:
    """Stands for kubectl: one answer to every call; its exit code for an error is 1, as the real one's."""

    def __init__(self, out: str = "", errors: str = "", exit_code: int = 0) -> None:
        self._ran = Ran(exit_code=exit_code, out=out, errors=errors)
        self.calls: list[tuple[str, ...]] = []

    def run(self, argv: tuple[str, ...], *, deadline_s: float) -> Ran:
        assert deadline_s > 10  # above the time that kubectl itself is given for the request
        self.calls.append(argv)
        return self._ran


@pytest.mark.parametrize(
    ("shell", "reason"),
    [
        (Answering(errors="a warning\nThe connection was refused\n", exit_code=1), "The connection was refused"),
        (Answering(exit_code=1), "it said nothing"),
        (Answering(out="<html>"), "its answer is not JSON"),
    ],
)
def test_a_call_without_an_answer_is_reported_with_its_reason(shell: Answering, reason: str) -> None:
    with pytest.raises(KubernetesError) as caught:
        Kubectl(shell).get("node", "box")

    assert caught.value.what == f"kubectl get node box: {reason}"


def test_a_node_that_says_little_is_neither_ready_nor_closed_and_offers_no_gpu() -> None:
    shell = Answering(out='{"spec": {}, "status": {}, "metadata": {}}')

    assert observe_node(Kubectl(shell), "box") == NodeState(is_ready=False, is_closed=False, gpus=0, labels={})
    assert shell.calls == [("kubectl", "get", "node", "box", "-o", "json", "--request-timeout=10s")]
