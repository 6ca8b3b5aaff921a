"""The audit log says who did what, when and from where, and nobody changes it afterwards."""

from __future__ import annotations

from dataclasses import replace

import asyncpg
import pytest

from corral.server.services import Services
from doubles.serving import Serving, serving

SLEEP = {"engine": "sleep", "inputs": {"seconds": 0}}


async def list_acts(api: Serving, **request: object) -> list[tuple[str, str, str]]:
    items = (await api.get("/corral/v1/audit", **request)).json["items"]
    return [(entry["owner"], entry["action"], entry["subject"]) for entry in reversed(items)]


async def test_what_administrators_do_is_in_the_log_with_their_address(api: Serving, services: Services) -> None:
    services.cluster_file.write_text("name: test\n")
    task = (await api.post("/corral/v1/tasks", SLEEP)).json["id"]
    batch = (await api.post("/corral/v1/batches", {"name": "b", "tasks": [SLEEP]})).json["batch"]["id"]
    await api.post("/corral/v1/tokens", {"name": "ada", "role": "viewer"})
    await api.call("DELETE", "/corral/v1/tokens/ada")
    await api.post("/corral/v1/queues/small/pause")
    await api.post(f"/corral/v1/tasks/{task}/cancel")
    await api.post(f"/corral/v1/batches/{batch}/cancel")
    await api.post("/corral/v1/gc", {"dry_run": False})
    await api.post("/corral/v1/reload", {"dry_run": False})
    await api.get("/corral/v1/backup")

    assert await list_acts(api) == [
        ("local", "token_created", "ada"),
        ("local", "token_revoked", "ada"),
        ("local", "queue_gate_set", "small"),
        ("local", "task_cancelled", str(task)),
        ("local", "batch_cancelled", str(batch)),
        ("local", "garbage_collected", ""),
        ("local", "cluster_reloaded", "test"),
        ("local", "backup_taken", "test"),
    ]
    newest = (await api.get("/corral/v1/audit?limit=1")).json["items"][0]
    assert newest["origin"] == "127.0.0.1"


async def test_what_changes_nothing_is_not_in_the_log(api: Serving) -> None:
    await api.post("/corral/v1/queues/nowhere/pause")
    await api.post("/corral/v1/queues/small/resume")
    await api.post("/corral/v1/tokens", {"name": "local", "role": "viewer"})
    await api.post("/corral/v1/gc", {"dry_run": True})
    await api.post("/corral/v1/reload", {"dry_run": True})
    acts = await list_acts(api)
    assert [action for _, action, _ in acts if action != "queue_gate_set"] == []


async def test_the_log_is_for_administrators_and_names_the_token_that_acted(services: Services) -> None:
    async with serving(replace(services, loopback=False)) as api:
        local = {"headers": {"Authorization": f"Bearer {services.local_token}"}}
        made = await api.post("/corral/v1/tokens", {"name": "ada", "role": "submitter"}, **local)
        ada = {"headers": {"Authorization": f"Bearer {made.json['token']}"}}
        task = (await api.post("/corral/v1/tasks", SLEEP, **ada)).json["id"]
        await api.post(f"/corral/v1/tasks/{task}/cancel", **ada)
        assert (await api.get("/corral/v1/audit", **ada)).status == 403
        assert (await list_acts(api, **local))[-1] == ("ada", "task_cancelled", str(task))


async def test_entries_are_neither_changed_nor_removed_before_their_time(api: Serving, services: Services) -> None:
    pool = services.pool
    await api.post("/corral/v1/queues/small/pause")
    for statement in ("update audit set owner = 'eve'", "delete from audit"):
        with pytest.raises(asyncpg.RaiseError, match="kept as they are for 400 days"):
            await pool.execute(statement)
    old = "now() - interval '401 days', 'ada', 'token_created', 'x'"
    await pool.execute(f"insert into audit (at, owner, action, subject) select {old}")
    assert len(await list_acts(api)) == 2
    await api.post("/corral/v1/queues/small/resume")
    assert [subject for _, _, subject in await list_acts(api)] == ["small", "small"], "what is past its time is gone"


FAIL_AT_COMMIT = """
create function fail() returns trigger language plpgsql as $$ begin raise exception 'the power went out'; end $$;
create constraint trigger fail after insert on audit deferrable initially deferred for each row execute function fail()
"""
"""What ends a transaction when everything in it is done; where act and entry are two, the act is there already."""


async def test_an_act_and_its_entry_are_both_there_or_neither(api: Serving, services: Services) -> None:
    pool = services.pool
    task = (await api.post("/corral/v1/tasks", SLEEP)).json["id"]
    batch = (await api.post("/corral/v1/batches", {"name": "b", "tasks": [SLEEP]})).json["batch"]["id"]
    await api.post("/corral/v1/tokens", {"name": "ada", "role": "viewer"})
    old = (await api.post("/corral/v1/tasks", SLEEP)).json["id"]
    await api.post(f"/corral/v1/tasks/{old}/cancel")
    await pool.execute("update tasks set finished_at = now() - interval '60 days' where id = $1", old)
    before = await _look(api)
    await pool.execute(FAIL_AT_COMMIT)

    acts = [
        api.post("/corral/v1/tokens", {"name": "bob", "role": "viewer"}),
        api.call("DELETE", "/corral/v1/tokens/ada"),
        api.post("/corral/v1/queues/small/pause"),
        api.post(f"/corral/v1/tasks/{task}/cancel"),
        api.post(f"/corral/v1/batches/{batch}/cancel"),
        api.post("/corral/v1/gc", {"dry_run": False}),
    ]
    statuses = [(await act).status for act in acts]

    assert statuses == [500] * len(acts)
    assert await _look(api) == before


async def _look(api: Serving) -> list[object]:
    """Read everything that acts change, and the log."""
    tasks = (await api.get("/corral/v1/tasks")).json["items"]
    tokens = (await api.get("/corral/v1/tokens")).json["items"]
    queues = (await api.get("/corral/v1/queues")).json["items"]
    return [tasks, tokens, queues, await list_acts(api)]
