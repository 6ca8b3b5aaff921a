"""Instances are asked with their credentials, and compared off the event loop."""

from __future__ import annotations

import threading
from dataclasses import replace

from corral.cluster.values import EngineSettings, Instance
from corral.engine_kinds import COMFYUI
from corral.engines.surveying import Need, Surveyor
from doubles.inventories import LOOK

KIND = replace(COMFYUI, look=LOOK)
NEEDS = [[Need(type="KSampler", where="node 3")]] * 2


async def test_the_comparison_does_not_hold_the_event_loop() -> None:
    settings = EngineSettings(name="comfyui", instances=(Instance(name="left", url="http://left"),))

    (report,) = await Surveyor().compare(KIND, settings, NEEDS, age_s=0)

    assert len(report.missing) == len(NEEDS)
    assert report.missing[0][0].what != threading.current_thread().name


async def test_each_instance_is_asked_with_its_own_credentials() -> None:
    variables = ("LEFT_TOKEN", None)
    instances = tuple(Instance(name=f"{at}", url=f"http://{at}", token_from=at) for at in variables)

    reports = await Surveyor().compare(KIND, EngineSettings(name="comfyui", instances=instances), NEEDS, age_s=0)

    assert tuple(report.missing[0][0].where for report in reports) == variables


async def test_an_instance_is_asked_again_when_its_credentials_change() -> None:
    surveyor = Surveyor()
    asked = Instance(name="left", url="http://left", token_from="OLD_TOKEN")

    answers = [
        await surveyor.compare(KIND, EngineSettings(name="comfyui", instances=(instance,)), NEEDS, age_s=3600)
        for instance in (asked, replace(asked, token_from="NEW_TOKEN"), replace(asked, headers_from={"X-Key": "KEY"}))
    ]

    assert [report.missing[0][0].where for (report,) in answers] == ["OLD_TOKEN", "NEW_TOKEN", "OLD_TOKEN"]
