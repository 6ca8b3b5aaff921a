"""An application serves the routes that its parts have made; making them anew would hold up the first request."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

from corral.server.api.app import create_app
from corral.server.api.routes import files, planning, tasks
from corral.server.services import Services


def test_an_application_serves_the_routes_of_its_parts_as_they_were_made() -> None:
    nothing: Any = SimpleNamespace(
        pool=None, alarms=None, guests=None
    )  # no request is sent, so no part of a server is needed
    served = {id(route) for route in create_app(cast(Services, nothing)).routes}

    for part in (files, planning, tasks):
        assert {id(route) for route in part.router.routes} <= served
