"""Objects of Kubernetes as they are on the wire."""

from __future__ import annotations

from typing import Any

Json = Any
"""What JSON becomes; the API server has checked it."""
EMPTY: Json = {}
"""An object without fields, for those that are left out; never written to."""
