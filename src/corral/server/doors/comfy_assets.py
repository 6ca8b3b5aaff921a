"""Keeps the assets of Comfy's API: uploads of their owners, with ids and hashes of their own."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import replace
from datetime import timedelta
from uuid import UUID

from blake3 import blake3 as make_hash

from corral.gateway.comfy_api.assets import StoredAsset
from corral.gateway.comfyui.workshop import OutputFile
from corral.gateway.doors import Visitor
from corral.server.api.state import ApiState
from corral.server.api.uploading import take_upload
from corral.tasks.store import assets as store
from corral.tasks.store.audit import Act, Action
from corral.tasks.store.uploads import UploadInUseError, UploadMissingError, delete_upload

FOR_EVER = timedelta(days=36500)
"""Said to clients that ask until when, where the cluster file keeps everything."""


class AssetsHere:
    """The assets of this server."""

    def __init__(self, api: ApiState) -> None:
        self._api = api

    @property
    def kept_for(self) -> timedelta:
        """How long jobs and files are kept at least."""
        retention = self._api.services.cluster.retention
        return min(kept or FOR_EVER for kept in (retention.tasks, retention.artifacts))

    async def add(self, visitor: Visitor, name: str, media_type: str, content: AsyncIterator[bytes]) -> StoredAsset:
        """Keep a file, within its owner's quota. Raises: CorralError."""
        digest = make_hash()

        async def note() -> AsyncIterator[bytes]:
            async for piece in content:
                digest.update(piece)
                yield piece

        file = await take_upload(self._api, visitor.owner, note(), name=name, media_type=media_type)
        asset = await store.add_asset(self._api.services.pool, visitor.owner, file, digest.hexdigest())
        return self._describe(asset)

    async def add_again(self, visitor: Visitor, blake3: str, name: str | None) -> StoredAsset | None:
        """Give content that the owner has another id; None where it has none such."""
        known = await store.find_asset_by_hash(self._api.services.pool, visitor.owner, blake3)
        if known is None:
            return None
        file = replace(known.file, name=name or known.file.name)
        return self._describe(await store.add_asset(self._api.services.pool, visitor.owner, file, blake3))

    async def find(self, owner: str, id: UUID) -> StoredAsset | None:
        """Return an owner's asset."""
        asset = await store.find_asset(self._api.services.pool, owner, id)
        return None if asset is None else self._describe(asset)

    async def find_by_hash(self, owner: str, blake3: str) -> StoredAsset | None:
        """Return an owner's asset with this content."""
        asset = await store.find_asset_by_hash(self._api.services.pool, owner, blake3)
        return None if asset is None else self._describe(asset)

    async def delete(self, visitor: Visitor, id: UUID) -> None:
        """Delete an asset, and its content where nothing else of its owner names it."""
        services = self._api.services
        content = await store.delete_asset(services.pool, visitor.owner, id)
        if content is None:
            return
        act = Act(
            owner=visitor.owner,
            origin=None,
            action=Action.UPLOAD_DELETED,
            subject=content,
            details={"owner": visitor.owner},
        )
        with suppress(UploadInUseError, UploadMissingError):  # a task takes it: it goes when it is past its time
            if await delete_upload(services.pool, visitor.owner, content, act=act):
                await asyncio.to_thread(services.artifacts.remove, content)

    def _describe(self, asset: store.Asset) -> StoredAsset:
        file = asset.file
        path = self._api.services.artifacts.place(file.sha256)
        return StoredAsset(
            id=asset.id,
            blake3=asset.blake3,
            name=file.name,
            file=OutputFile(path=path, media_type=file.media_type, sha256=file.sha256, size=file.size),
            created_at=asset.created_at,
        )
