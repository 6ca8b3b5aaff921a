"""A download goes on from one address to another only where that is no way into this network or out of TLS."""

from __future__ import annotations

import pytest

from corral.weights.redirects import find_redirect_problem

HUB = "https://huggingface.co/o/r/resolve/main/m.gguf"


@pytest.mark.parametrize(
    "target", ["https://cdn-lfs.hf.co/blob", "https://1.1.1.1/blob", "https://huggingface.co/elsewhere"]
)
def test_a_store_elsewhere_is_followed(target: str) -> None:
    assert find_redirect_problem(HUB, target) is None


@pytest.mark.parametrize(
    ("target", "word"),
    [
        ("http://cdn-lfs.hf.co/blob", "TLS"),
        ("https://127.0.0.1:7433/corral/v1/tokens", "this network"),
        ("https://localhost/", "this network"),
        ("https://169.254.169.254/latest/meta-data", "this network"),
        ("https://192.168.1.1/", "this network"),
        ("https://[::1]/", "this network"),
        ("https://[fd00::1]/", "this network"),
        ("https://nas/", "this network"),
        ("https://nas.local/", "this network"),
        ("file:///etc/passwd", "http"),
        ("ftp://example.org/blob", "http"),
    ],
)
def test_a_way_into_this_network_or_out_of_tls_is_refused(target: str, word: str) -> None:
    assert word in (find_redirect_problem(HUB, target) or "")


def test_a_mirror_in_this_network_leads_where_it_wants_here() -> None:
    assert find_redirect_problem("http://mirror.local/m.gguf", "http://192.168.1.9/store/m.gguf") is None
