"""Makes the doors of a server, and what is behind them."""

from __future__ import annotations

from typing import Any

from corral.gateway.anthropic.door import AnthropicDoor
from corral.gateway.catalogue import Catalogue
from corral.gateway.cloud import CloudFallback
from corral.gateway.comfy_api.door import ComfyApiDoor
from corral.gateway.comfyui.door import ComfyUiDoor
from corral.gateway.comfyui.instances import Instances
from corral.gateway.doors import Door
from corral.gateway.ollama.door import OllamaDoor
from corral.gateway.openai.batches.door import BatchDoor
from corral.gateway.openai.door import OpenAiDoor
from corral.gateway.passing import Passing
from corral.gateway.speech.conversing import ConverseDoor
from corral.gateway.speech.door import SpeechDoor
from corral.gateway.upstream import Upstreams
from corral.server.api.state import ApiState
from corral.server.doors.accounts import Accounts
from corral.server.doors.batches.book import StoredBook
from corral.server.doors.batches.steps import BatchSteps
from corral.server.doors.comfy_assets import AssetsHere
from corral.server.doors.comfyui import ComfyUiWorkshop
from corral.server.doors.console import ConsoleDoor
from corral.server.doors.doorman import TokenDoorman
from corral.server.doors.images import ImageStudio
from corral.server.doors.mcp import McpDoor
from corral.server.doors.model_keeping import ModelsKept
from corral.server.doors.models import ModelsHere
from corral.server.doors.speech import make_speech_parts
from corral.slots.guests import GuestDesk


def make_doors(api: ApiState, app: Any) -> tuple[Door, ...]:  # an ASGI application, of any framework
    """Return the doors of a server; a longer path goes before a shorter one, and those of guests need turns.

    `app` serves Corral's own API.
    """
    services = api.services
    doorman = TokenDoorman(services)
    workshop = ComfyUiWorkshop(api)
    instances = Instances(workshop)
    jobs = ComfyApiDoor(doorman, workshop, instances, AssetsHere(api))
    comfy = (ComfyUiDoor(doorman, workshop, instances), jobs)
    catalogue = Catalogue(ModelsHere(services), named=lambda: services.cluster.gateway.models)
    steps = BatchSteps(api, catalogue)
    batches = BatchDoor(StoredBook(api, steps.wake), doorman, steps.run)
    others = (*comfy, batches, McpDoor(doorman, services, app), ConsoleDoor())
    if services.guests is None:
        return others
    passing, of_the_page = _make_passing(api, services.guests, catalogue), TokenDoorman(services, "cookies")
    speech = SpeechDoor(make_speech_parts(services, passing, of_the_page))
    chat = OpenAiDoor(passing, of_the_page, ImageStudio(api, workshop.cancel))
    anthropic = AnthropicDoor(passing, doorman)
    ollama = OllamaDoor(passing, doorman, ModelsKept(services))
    conversing = ConverseDoor(chat, speech, doorman)
    return (*others, chat, speech, conversing, ollama, anthropic)


def _make_passing(api: ApiState, desk: GuestDesk, catalogue: Catalogue) -> Passing:
    services, upstreams = api.services, Upstreams()
    return Passing(
        desk=desk,
        catalogue=catalogue,
        upstreams=upstreams,
        sink=Accounts(services.keys, count_cloud=api.metrics.count_cloud),
        fallback=CloudFallback(upstreams),
        stall_s=lambda: services.cluster.gateway.stall_after.total_seconds(),
    )
