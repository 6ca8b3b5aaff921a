"""Files by name: what clients upload, and what prompts made."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from urllib.parse import quote

from pydantic_core import from_json

from corral.errors import CorralError, Kind
from corral.gateway.asgi import LARGEST_BODY, Exchange
from corral.gateway.comfyui.asked import RefusedError, split_annotation
from corral.gateway.comfyui.page import InstanceGoneError, Passer
from corral.gateway.comfyui.shapes import find_output_name, read_folder
from corral.gateway.comfyui.validating import make_error
from corral.gateway.comfyui.workshop import ENDED, OutputFile, StoredPrompt, Workshop
from corral.gateway.doors import Visitor
from corral.gateway.forms import Part, read_parts
from corral.gateway.sending import send_file
from corral.narrowing import as_object, as_text

_FOLDERS = ("input", "temp", "output")
_UNSAFE = re.compile(r"[\x00-\x1f\x7f]")


class FileMissingError(CorralError):
    """There is no file of this name."""

    code = "comfyui.no_file"
    kind = Kind.MISSING


class Files:
    """The folders `input`, `temp` and `output` of a virtual ComfyUI."""

    def __init__(self, workshop: Workshop, passer: Passer) -> None:
        self._workshop = workshop
        self._passer = passer

    async def view(self, exchange: Exchange, visitor: Visitor, _: str) -> None:
        """`/view`: a stored file; one of a prompt that runs comes from its instance."""
        query = exchange.query
        filename, folder = split_annotation(query.get("filename", ""))
        folder = query.get("type") or ("output" if folder == "input" else folder)
        subfolder = query.get("subfolder", "").strip("/")
        if not filename or ".." in f"{subfolder}/{filename}" or folder not in _FOLDERS:
            await exchange.answer(400, b"", "text/plain")
            return
        head, _, filename = f"{subfolder}/{filename}".strip("/").rpartition("/")
        place = read_folder(head)
        if place is None:
            file = await self._workshop.find_input(visitor.owner, folder, f"{head}/{filename}".strip("/"))
            await self._send(exchange, filename, file)
            return
        prompt = await self._find_prompt(visitor, place[0], filename)
        if prompt.stage not in ENDED:
            await self._fetch(exchange, prompt, filename, place[1], folder)
            return
        await self._send(exchange, filename, find_file_of(prompt, filename, place[1], folder))

    async def _find_prompt(self, visitor: Visitor, task: int, filename: str) -> StoredPrompt:
        prompt = next(iter(await self._workshop.read([task])), None)
        if prompt is None or prompt.owner != visitor.owner:
            raise FileMissingError(f"there is no file {filename!r}")
        return prompt

    async def _find_original(self, visitor: Visitor, text: str) -> OutputFile:
        """Return the file that a mask is for, by the form's `original_ref`. Raises: FileMissingError, RefusedError."""
        try:
            ref = as_object(from_json(text))
        except ValueError:
            ref = {}
        filename, folder = split_annotation(as_text(ref.get("filename")))
        folder = as_text(ref.get("type")) or folder
        head, _, filename = f"{as_text(ref.get('subfolder'))}/{filename}".strip("/").rpartition("/")
        if not filename:
            raise RefusedError(make_error("invalid_upload", "`original_ref` does not name a file"))
        place = read_folder(head)
        if place is None:
            file = await self._workshop.find_input(visitor.owner, folder, f"{head}/{filename}".strip("/"))
        else:
            file = find_file_of(await self._find_prompt(visitor, place[0], filename), filename, place[1], folder)
        if file is None:
            raise FileMissingError(f"there is no file {filename!r} to put a mask on")
        return file

    async def _fetch(
        self, exchange: Exchange, prompt: StoredPrompt, filename: str, subfolder: str, folder: str
    ) -> None:
        """Let the instance answer on which a prompt runs: its files are not kept before its end."""
        address = self._workshop.find_address(prompt.task)
        if address is None:
            raise FileMissingError(f"the prompt {prompt.id} has not made {filename!r} yet")
        url, headers = address
        query = f"filename={quote(filename)}&subfolder={quote(subfolder)}&type={folder}"
        exchange.scope["query_string"] = query.encode()
        try:
            await self._passer.fetch(exchange, url, "/view", headers)
        except InstanceGoneError as error:
            raise FileMissingError(f"the instance of {prompt.id} does not answer: {error}") from error

    async def _send(self, exchange: Exchange, filename: str, file: OutputFile | None) -> None:
        if file is None:
            raise FileMissingError(f"there is no file {filename!r}", hint="names are as `/history` has them")
        await send_stored(exchange, filename, file)

    async def upload(self, exchange: Exchange, visitor: Visitor, _: str) -> None:
        """`/upload/image`: any file; the answer has the name that it got."""
        form = Form()
        async for part in read_parts(exchange.headers.get("content-type", ""), exchange.read_chunks()):
            if not await form.take(part):
                form.kept = await self._workshop.keep(visitor, form.name, part.content)
        await self._answer_upload(exchange, visitor, form)

    async def upload_mask(self, exchange: Exchange, visitor: Visitor, _: str) -> None:
        """`/upload/mask`: an instance puts the mask on the picture, and the result is kept as an upload is."""
        form, mask = Form(), bytearray()
        async for part in read_parts(exchange.headers.get("content-type", ""), exchange.read_chunks()):
            if not await form.take(part):
                async for piece in part.content:
                    mask += piece
                    if len(mask) > LARGEST_BODY:
                        raise RefusedError(make_error("invalid_upload", f"A mask has at most {LARGEST_BODY} bytes"))
        original = await self._find_original(visitor, form.fields.get("original_ref", ""))
        content = await asyncio.to_thread(original.path.read_bytes)
        joined = await self._passer.join_mask(content, bytes(mask))
        form.kept = await self._workshop.keep(visitor, form.name, _yield_once(joined))
        await self._answer_upload(exchange, visitor, form)

    async def _answer_upload(self, exchange: Exchange, visitor: Visitor, form: Form) -> None:
        fields = form.fields
        folder, subfolder = fields.get("type") or "input", clean_folder(fields.get("subfolder", ""))
        if form.kept is None or not form.name or folder not in _FOLDERS or subfolder is None:
            raise RefusedError(make_error("invalid_upload", "No image, or no usable name, type or subfolder"))
        wanted = f"{subfolder}/{form.name}".lstrip("/")
        overwrite = fields.get("overwrite") in ("true", "1")
        name = await self._workshop.name_input(visitor.owner, folder, wanted, form.kept, overwrite=overwrite)
        head, _, last = name.rpartition("/")
        await exchange.answer_json(200, {"name": last, "subfolder": head, "type": folder})


@dataclass(slots=True)
class Form:
    """The form of an upload."""

    fields: dict[str, str] = field(default_factory=dict[str, str])
    name: str = ""
    """Of its file."""
    kept: OutputFile | None = None

    async def take(self, part: Part) -> bool:
        """Take the next part; False for the file, whose name is known then and whose content comes next."""
        if part.filename is None:
            self.fields[part.name] = await part.read_text()
        elif part.name == "image":
            self.name = clean_name(part.filename)
            return False
        return True


async def _yield_once(content: bytes) -> AsyncIterator[bytes]:
    yield content


def find_file_of(prompt: StoredPrompt, filename: str, subfolder: str, folder: str) -> OutputFile | None:
    """Return a file that an ended prompt has made, by its name at the instance."""
    name = find_output_name(prompt, filename, subfolder, folder)
    return None if name is None else prompt.files.get(name)


async def send_stored(exchange: Exchange, name: str, file: OutputFile) -> None:
    """Answer with a stored file. Raises: FileMissingError, RangeError."""
    try:
        await send_file(exchange, file.path, name=name, media_type=file.media_type, sha256=file.sha256, size=file.size)
    except FileNotFoundError as error:
        raise FileMissingError(f"{name!r} was collected: it was past its time") from error


def clean_name(filename: str) -> str:
    """Return the last part of a name, without what no file has in its name."""
    name = _UNSAFE.sub("", filename.replace("\\", "/").rpartition("/")[2]).strip()
    return "" if name in (".", "..") else name[:200]


def clean_folder(subfolder: str) -> str | None:
    """Return a subfolder as `a/b`; None for one that leads out of its folder."""
    parts = [part for part in _UNSAFE.sub("", subfolder.replace("\\", "/")).split("/") if part not in ("", ".")]
    return None if ".." in parts or len(parts) > 16 else "/".join(parts)
