"""The audit log."""

from __future__ import annotations

from corral.server.api.errors import declare_refusals
from corral.server.api.fields import Cursor, Limit, find_next, id_of
from corral.server.api.routing import make_router
from corral.server.api.schemas import AuditEntryOut, AuditPage
from corral.server.api.state import Admin, Here
from corral.tasks.store.audit import AuditEntry, list_audit

router = make_router("server", prefix="/corral/v1/audit")


@router.get("", summary="List the audit log", responses=declare_refusals(), name="list_audit")
async def list_all(api: Here, caller: Admin, cursor: Cursor = None, limit: Limit = 50) -> AuditPage:
    """List who did what, newest first: tokens, gates, cancels, reloads, collections and backups, for 400 days."""
    entries = await list_audit(api.services.pool, before=id_of(cursor), limit=limit)
    return AuditPage(items=[_describe(entry) for entry in entries], next=find_next(entries, limit))


def _describe(entry: AuditEntry) -> AuditEntryOut:
    return AuditEntryOut(
        id=entry.id,
        at=entry.at,
        owner=entry.owner,
        origin=entry.origin,
        action=entry.action.value,
        subject=entry.subject,
        details=dict(entry.details),
    )
