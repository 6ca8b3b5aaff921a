"""The trainer's own environment, PyTorch and all, which `make test-training` installs once into `.cache`."""

from __future__ import annotations

import pytest


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Keep these tests out of `make test`, which needs no PyTorch."""
    for item in items:
        if "training" in item.path.parts:
            item.add_marker(pytest.mark.training)
