"""The published dimensions of models, by the names under which people serve them (`published.toml`).

Belongs here: reading the table, and finding a model in it.
Does not belong here: what the dimensions take in memory (`published_shape`).
"""

from __future__ import annotations

import re
import tomllib
from dataclasses import dataclass
from functools import lru_cache
from importlib.resources import files
from typing import Any, cast

_TABLE = "published.toml"


@dataclass(frozen=True, slots=True, kw_only=True)
class FullLayers:
    """Full attention where it differs from that of the layers with a window."""

    kv_heads: int
    head: int
    values_are_keys: bool = False
    """Whether values are computed from the projection of the keys; both are cached."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LinearAttention:
    """A layer of Gated DeltaNet, which keeps a state instead of a cache."""

    key_heads: int
    value_heads: int
    head: int
    kernel: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Mamba:
    """A Mamba 2 layer, which keeps a state instead of a cache."""

    inner: int
    state: int
    groups: int
    heads: int
    kernel: int


@dataclass(frozen=True, slots=True, kw_only=True)
class LatentAttention:
    """Attention whose keys and values are cached as one latent vector (MLA)."""

    kv: int
    """The latent vector's length."""
    q: int
    """0 where queries are projected at once."""
    rope: int
    nope: int
    value: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Published:
    """A model's dimensions, from its `config.json`."""

    id: str
    """On Hugging Face."""
    names: tuple[str, ...]
    """Words of names that mean it, in this order: `qwen 3 30b a3b`."""
    layers: int
    width: int
    heads: int
    ffn: int
    """Width of the feed-forward step; of one expert where there are experts."""
    vocabulary: int
    defaults: tuple[str, ...] = ()
    """Whole names that mean it without a size, such as `llama3.2` of Ollama."""
    kv_heads: int = 0
    head: int = 0
    """Length of one head's key and value."""
    experts: int = 0
    used: int = 0
    """Experts for each token."""
    shared: int = 0
    """Width of the shared experts, which every token uses."""
    dense: int = 0
    """So many first layers have no experts."""
    dense_ffn: int = 0
    moe_every: int = 1
    """Every so many layers one has experts."""
    tied: bool = False
    """Whether the embedding is the output as well."""
    context: int | None = None
    """Tokens that it was trained for."""
    pattern: str = "F"
    """The kinds of layers, repeated: `F` full attention, `W` a window, `L` linear attention, `M` Mamba, `C` a short
    convolution, each with a feed-forward step; `a` and `m` the same as `F` and `M` without it, `x` the step alone."""
    window: int | None = None
    full: FullLayers | None = None
    linear: LinearAttention | None = None
    mamba: Mamba | None = None
    mla: LatentAttention | None = None
    convolution: int = 0
    """Tokens that a short convolution sees."""
    shared_kv: int = 0
    """So many last layers use another's keys and values."""
    per_layer: int = 0
    """Length of each layer's own embedding of a token, which is only looked up."""
    vision: float = 0.0
    """Billions of weights that see images: encoder and projector."""
    gated_query: bool = False
    """Whether queries have a gate as wide as themselves."""
    ungated: bool = False
    """Whether the feed-forward step has two matrices instead of three."""
    bias: bool = False
    """Whether experts have biases."""
    published: str | None = None
    """The precision of its repository where that is not 16 bits."""
    served: str | None = None
    """What Ollama serves under a tag without a quantization, where that is not Q4_K_M."""
    millions: int | None = None
    """Weights that its publisher counts, in millions: what the dimensions are checked against."""

    def find_kind(self, layer: int) -> str:
        """Return the letter of a layer."""
        return self.pattern[layer % len(self.pattern)]

    def has_experts(self, layer: int) -> bool:
        """Return whether a layer's feed-forward step is made of experts."""
        return bool(self.experts) and layer >= self.dense and layer % self.moe_every == self.moe_every - 1


_PARTS = {
    "full": FullLayers,
    "linear": LinearAttention,
    "mamba": Mamba,
    "mla": LatentAttention,
}


@lru_cache(maxsize=1)
def list_published() -> tuple[Published, ...]:
    """List the models of the table, in its order."""
    table = tomllib.loads(files("corral.hardware.fit").joinpath(_TABLE).read_text(encoding="utf-8"))
    return tuple(_read_row(row) for row in table["models"])


def _read_row(row: dict[str, Any]) -> Published:  # Any: TOML
    values = dict(row)
    for name, part in _PARTS.items():
        if name in values:
            values[name] = part(**values[name])
    for name in ("names", "defaults"):
        values[name] = tuple(cast("list[str]", values.get(name, [])))
    return Published(**values)


_SEPARATORS = re.compile(r"[-_:/@\s()+]+")
_VERSIONED = re.compile(r"([a-z]{2,})(\d[\d.]*)([a-z]*)")
_HARMLESS = frozenset(
    {
        "base", "chat", "code", "coder", "instruct", "instruction", "it", "math", "pt", "thinking", "reasoning",
        "preview", "distill", "abliterated", "nemotron", "tulu", "uncensored", "guard", "sft", "dpo", "hf",
        "exp", "meta", "text",
    }
)  # fmt: skip
"""Words between a family and a size that leave the dimensions as they are."""
_LEAVES_AS_IS = re.compile(
    r"\d{4}|\d+[km]|v\d[\d.]*|[if]?q\d\w*|[0-9ksmlx]|bf16|fp?16|fp?32|fp|gguf|awq|gptq|int|mlx|\d?bit|bnb|w\da\d+"
    r"|nvfp|mxfp|unsloth|quantized|dynamic|ud|xl|xs|xxs|nl|exl|\d[\d.]*bpw|qat|latest"
)
"""Words after a family without a size that are dates, contexts, versions or quantizations."""
_SIZE = re.compile(r"[ae]?\d+(?:\.\d+)?[bm]|\d+x\d+b|r\d+b")
_OTHER_MODELS = frozenset(
    {
        "adapter", "draft", "eagle", "eagle3", "embedding", "lora", "loras", "mmproj", "mtp", "reranker",
        "reward", "speculator", "vae", "controlnet",
    }
)  # fmt: skip
"""Words that make it another model, or a part of one."""


def split_words(name: str) -> tuple[str, ...]:
    """Split a name into words of lower case; versions stand alone: `Qwen2.5-VL-7B` -> `qwen 2.5 vl 7b`."""
    words = list[str]()
    for word in _SEPARATORS.split(name.lower()):
        versioned = _VERSIONED.fullmatch(word)
        parts = (versioned[1], f"{versioned[2].rstrip('.')}{_keep_size(versioned[3])}") if versioned else (word,)
        words.extend(part for part in parts if part)
        if versioned and not _keep_size(versioned[3]) and versioned[3]:
            words.append(versioned[3])
    return tuple(words)


def _keep_size(letters: str) -> str:
    """Return the letters that belong to a number: `3n` is one word, `2.5` and `vl` are two."""
    return letters if len(letters) == 1 else ""


def find_published(name: str, *, is_repository: bool = False) -> Published | None:
    """Find the model that a name means, tuned or not; None when the table has none.

    `name` is without its owner and its registry: `qwen3:30b-a3b`, `Meta-Llama-3-8B-Instruct`. Ollama's names without a
    size are not those of repositories: its `deepseek-r1` is a distilled 7B model.
    """
    whole = name.lower().removesuffix(":latest")
    words = split_words(whole)
    if not _OTHER_MODELS.isdisjoint(words):
        return None
    best, longest = None, 0
    for model, phrases, defaults in _index():
        if whole in defaults and not is_repository:
            return model
        for phrase in phrases:
            if len(phrase) > longest and _contains(words, phrase):
                best, longest = model, len(phrase)
    return best


@lru_cache(maxsize=1)
def _index() -> tuple[tuple[Published, tuple[tuple[str, ...], ...], frozenset[str]], ...]:
    return tuple(
        (model, tuple(split_words(phrase) for phrase in model.names), frozenset(model.defaults))
        for model in list_published()
    )


def _contains(words: tuple[str, ...], phrase: tuple[str, ...]) -> bool:
    """Return whether a phrase occurs in order, with nothing but harmless words within it."""
    return any(_matches_at(words[start:], phrase) for start in range(len(words)))


def _matches_at(words: tuple[str, ...], phrase: tuple[str, ...]) -> bool:
    position = 0
    for index, word in enumerate(words):
        if word == phrase[position]:
            position += 1
            if position == len(phrase):
                return _has_size(phrase) or all(_is_harmless(later) for later in words[index + 1 :])
        elif position == 0 or word not in _HARMLESS:
            return False
    return False


def _has_size(phrase: tuple[str, ...]) -> bool:
    return any(_SIZE.fullmatch(word) for word in phrase)


def _is_harmless(word: str) -> bool:
    """Return whether a word after a family's name leaves it the same model: of `phi 4 multimodal` it does not."""
    return word in _HARMLESS or _LEAVES_AS_IS.fullmatch(word) is not None
