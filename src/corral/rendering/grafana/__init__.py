"""Grafana: dashboards and the files that provision them.

Built with Grafana's own foundation SDK, so that a panel is what Grafana's schema says. A dashboard names no address and
no data source: the data source is a variable, and the provisioned one is the default.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace

from grafana_foundation_sdk.cog.encoder import JSONEncoder

from corral.rendering.grafana import provisioning
from corral.rendering.grafana.dashboards import cluster, engines, gpus, queues
from corral.rendering.grafana.panels import Board
from corral.rendering.installation import Installation
from corral.rendering.prometheus.sights import sight_of


def files(installations: tuple[Installation, ...]) -> Mapping[str, str]:
    """Every dashboard that the cluster file has something for, and how Grafana finds them."""
    sight = sight_of(installations)
    boards = [cluster.board(sight), queues.board(sight), engines.board(sight)]
    if sight.gpu_nodes:
        boards.append(gpus.board(sight))
    one = replace(installations[0], layout=None)
    written: dict[str, str] = {f"grafana/dashboards/{board.name}.json": _json(one, board) for board in boards}
    written |= provisioning.files(one)
    return written


def _json(installation: Installation, board: Board) -> str:
    """JSON has no comments: what made it stands in the description."""
    made = board.build(installation)
    return json.dumps(made, cls=JSONEncoder, indent=2, ensure_ascii=False, sort_keys=True) + "\n"
