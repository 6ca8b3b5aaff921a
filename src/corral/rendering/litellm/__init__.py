"""LiteLLM's configuration: every language model that a layout can run, and the providers that stand in for them.

Without a service of kind litellm the file is written all the same where a layout runs Ollama: whoever starts LiteLLM by
hand needs the same routes.
"""

from __future__ import annotations

from collections.abc import Mapping

from corral.cluster.values import ServiceKind
from corral.rendering.documents import document
from corral.rendering.installation import Deployed, Installation, addresses_of
from corral.rendering.litellm.groups import Reach, config

FILE = "config.yaml"
_BY_HAND = (
    "The cluster file has no service of kind litellm; this is for one that is started by hand:",
    "LITELLM_MASTER_KEY=... litellm --config config.yaml --port 4000",
)


def files(installation: Installation) -> Mapping[str, str]:
    """The configuration of each LiteLLM of a layout; the first is `config.yaml`, others carry their service's name."""
    folder = f"litellm/{installation.name}"
    routers = [one for one in installation.deployed if one.service.kind is ServiceKind.LITELLM]
    if not routers:
        text = configuration(installation, None)
        return {} if text is None else {f"{folder}/{FILE}": text}
    names = [FILE, *(f"config-{one.service.name}.yaml" for one in routers[1:])]
    texts = ((name, configuration(installation, one)) for name, one in zip(names, routers, strict=True))
    return {f"{folder}/{name}": text for name, text in texts if text is not None}


def configuration(installation: Installation, router: Deployed | None, reach: Reach | None = None) -> str | None:
    """The configuration of one LiteLLM; None when there is nothing that it could route.

    `reach` says at which addresses a service is reached from LiteLLM; those of the cluster unless it is given.
    """
    found = config(installation, router, reach or (lambda target: addresses_of(target, caller=router)))
    if not found.value["model_list"]:
        return None
    return document(installation, found.value, *(() if router else _BY_HAND), *found.notes)
