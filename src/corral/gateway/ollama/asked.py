"""A request of Ollama's API, parsed, and how each server is asked for it.

A server that speaks Ollama's protocol gets the request as it came, but for what would move its models: `keep_alive` is
the policy's, and `num_ctx` does not change from client to client, since a server loads a model anew for another one.
"""

from __future__ import annotations

from enum import Enum, auto

from pydantic_core import to_json

from corral.gateway.editing import TokenReader, WholeEditor
from corral.gateway.ollama.replies import (
    ReplyClock,
    StreamTranslator,
    UpstreamLineError,
    Words,
    translate_vectors,
    translate_whole,
    write_line,
)
from corral.gateway.ollama.requests import (
    OllamaRequestError,
    Translated,
    check_format,
    check_options,
    translate_chat,
    translate_embed,
    translate_generate,
)
from corral.gateway.parsing import parse
from corral.gateway.passing import CallMissingError, Prepared
from corral.gateway.tool_calls import repair_before
from corral.narrowing import as_list, as_object, as_text
from corral.slots.guests import Choice
from corral.work import Dialect, Endpoint, Json

LINES = b"application/x-ndjson"
WHOLE = b"application/json; charset=utf-8"
PREFIX = 2048
"""Characters of a prompt by which a slot is found whose server has read the same before."""
_LATEST = ":latest"


class Call(Enum):
    """A route that computes."""

    CHAT = auto()
    GENERATE = auto()
    EMBED = auto()
    EMBEDDINGS = auto()
    """The older one, of one text."""


_PATHS = {
    Call.CHAT: "/api/chat",
    Call.GENERATE: "/api/generate",
    Call.EMBED: "/api/embed",
    Call.EMBEDDINGS: "/api/embeddings",
}
CALLS = {path: call for call, path in _PATHS.items()}
"""The routes, by path."""


class Asked:
    """A request's body, parsed."""

    def __init__(self, call: Call, body: bytes) -> None:
        """Raises: OllamaRequestError."""
        self.call = call
        self.clock = ReplyClock()
        self._body = body
        self.fields = read_fields(body)
        self.model = read_model(self.fields)
        check_options(as_object(self.fields.get("options")))
        check_format(self.fields.get("format"))

    @property
    def streams(self) -> bool:
        """Whether the answer is wanted line by line; vectors never are."""
        return self.call in (Call.CHAT, Call.GENERATE) and self.fields.get("stream") is not False and not self.is_empty

    @property
    def is_empty(self) -> bool:
        """Whether it has no words: its model is loaded, or leaves."""
        match self.call:
            case Call.CHAT:
                return not as_list(self.fields.get("messages"))
            case Call.GENERATE:
                return not any(self.fields.get(name) for name in ("prompt", "images", "suffix"))
            case _:
                return False

    @property
    def unloads(self) -> bool:
        """Whether a model should leave memory; which ones do is the policy's, so it is answered and changes nothing."""
        keep = self.fields.get("keep_alive")
        return self.is_empty and (keep == 0 or (isinstance(keep, str) and keep.strip("0smh") == "" and "0" in keep))

    @property
    def prefix(self) -> str:
        """The beginning of its prompt."""
        if self.call is Call.CHAT:
            turns = [as_object(turn) for turn in as_list(self.fields.get("messages"))[:4]]
            return "\n".join(as_text(turn.get("content")) for turn in turns)[:PREFIX]
        return (as_text(self.fields.get("system")) + as_text(self.fields.get("prompt")))[:PREFIX]

    def write_end(self, reason: str) -> dict[str, Json]:
        """Return the only line of an answer without words: `load` or `unload`."""
        return self._words.write(done=True, done_reason=reason)

    def prepare(self, endpoint: Endpoint, choice: Choice, *, counts_tokens: bool) -> Prepared:
        """Make it for one server. Raises: CallMissingError, OllamaRequestError."""
        self.clock.note_sent()
        if Dialect.OLLAMA in endpoint.dialects:
            reader = TokenReader() if counts_tokens else None
            return Prepared(path=_PATHS[self.call], body=self._write_body(endpoint, choice), editor=reader)
        if Dialect.OPENAI not in endpoint.dialects:
            raise CallMissingError(f"the server of {choice.engine!r} speaks neither Ollama's protocol nor OpenAI's")
        if self.is_empty:
            return self._prepare_load()
        translated = self._translate(endpoint.model or choice.model or self.model)
        body = to_json(translated.body)
        streams = self.streams
        editor = StreamTranslator(self._words, self.clock) if streams else WholeEditor(self._translate_answer)
        return Prepared(
            path=translated.path,
            body=body,
            editor=repair_before(editor, translated.body),
            media_type=LINES if streams else WHOLE,
        )

    @property
    def _words(self) -> Words:
        hides = self.fields.get("think") is False
        return Words(model=self.model, is_chat=self.call is Call.CHAT, hides_thinking=hides)

    def _write_body(self, endpoint: Endpoint, choice: Choice) -> bytes:
        model = endpoint.model or choice.model or self.model
        fields = dict(self.fields)
        if not _is_same_name(model, self.model):
            fields["model"] = model
        fields.pop("keep_alive", None)
        options = as_object(fields.get("options"))
        wanted = options.get("num_ctx")
        size = endpoint.choose_context(wanted if isinstance(wanted, int) and wanted > 0 else None)
        if size is not None and size != wanted:
            fields["options"] = {**options, "num_ctx": size}
        return self._body if fields == self.fields else to_json(fields)

    def _prepare_load(self) -> Prepared:
        """Make the request that shows that a server is there, whose engine has loaded the model by then."""
        line = write_line(self.write_end("load"))
        editor = WholeEditor(lambda _: line)
        return Prepared(method="GET", path="/v1/models", body=b"", editor=editor, media_type=WHOLE)

    def _translate(self, model: str) -> Translated:
        match self.call:
            case Call.CHAT:
                return translate_chat(self.fields, model)
            case Call.GENERATE:
                return translate_generate(self.fields, model)
            case _:
                return translate_embed(self.fields, model)

    def _translate_answer(self, body: bytes) -> bytes:
        try:
            if self.call in (Call.CHAT, Call.GENERATE):
                return write_line(translate_whole(body, self._words, self.clock))
            is_old = self.call is Call.EMBEDDINGS
            return write_line(translate_vectors(body, self.model, self.clock, is_old=is_old))
        except UpstreamLineError as error:
            return write_line({"error": str(error)})


def read_fields(body: bytes) -> dict[str, Json]:
    """Parse a body. Raises: OllamaRequestError."""
    if not body.strip():
        raise OllamaRequestError("missing request body", hint="send an object in JSON")
    try:
        fields = parse(body)
    except ValueError as error:
        raise OllamaRequestError(f"the body is not JSON: {error}", hint="send an object in JSON") from error
    if not isinstance(fields, dict):
        raise OllamaRequestError("the body is not an object", hint="send an object with `model`")
    return as_object(fields)


def read_model(fields: dict[str, Json]) -> str:
    """Return the model that a request names. Raises: OllamaRequestError."""
    model = as_text(fields.get("model")) or as_text(fields.get("name"))
    if not model:
        raise OllamaRequestError("model is required", where="model", hint="name one that `GET /api/tags` lists")
    return model


def _is_same_name(name: str, other: str) -> bool:
    return name.lower().removesuffix(_LATEST) == other.lower().removesuffix(_LATEST)
