"""The dimensions of a language model in the `config.json` that Hugging Face's transformers reads.

They become the same value as those of models that are known by name (`published`), so that a file and a name are judged
alike: which layers keep a cache, and how much.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, cast

from corral.hardware.fit.published import FullLayers, LatentAttention, LinearAttention, Mamba, Published

_LARGEST = 2**40
"""Of any dimension; JSON has no bound, and arithmetic with floats has."""
_KINDS: Mapping[str, str] = MappingProxyType(
    {
        "full_attention": "F",
        "attention": "F",
        "sliding_attention": "W",
        "chunked_attention": "W",
        "linear_attention": "L",
        "mamba": "M",
        "conv": "C",
    }
)
"""transformers' `layer_types`, by the letters of `Published.pattern`."""
_NEMOTRON: Mapping[str, str] = MappingProxyType({"M": "m", "*": "a", "E": "x", "-": "x"})
"""Nemotron-H's `hybrid_override_pattern`."""
_NEMOTRON_KINDS: Mapping[str, str] = MappingProxyType({"mamba": "m", "attention": "a", "moe": "x", "mlp": "x"})
"""The same as its `layers_block_type`, in newer files."""
_PERIODS: Mapping[str, int] = MappingProxyType({"gemma2": 2, "gemma3": 6, "gemma3_text": 6, "cohere2": 4, "gpt_oss": 2})
"""Every so many layers one sees all tokens, where the file does not say which."""


class Facts:
    """The configuration of the language model, which multimodal models keep under `text_config`."""

    def __init__(self, config: Mapping[str, Any]) -> None:  # Any: JSON
        inner = config.get("text_config")
        self._config: dict[str, Any] = {**config, **(inner if isinstance(inner, dict) else {})}

    def read_whole(self, *names: str) -> int | None:
        """Read the first of these that is a whole number a model can have."""
        values = (self._config.get(name) for name in names)
        numbers = (value for value in values if isinstance(value, int) and not isinstance(value, bool))
        return next((number for number in numbers if 0 < number < _LARGEST), None)

    def read_text(self, name: str) -> str | None:
        """Read a text; None for anything else."""
        value = self._config.get(name)
        return value if isinstance(value, str) else None

    def read_texts(self, name: str) -> tuple[str, ...]:
        """Read a list of texts; empty for anything else."""
        value = self._config.get(name)
        listed = cast("list[Any]", value) if isinstance(value, list) else []
        return tuple(entry for entry in listed if isinstance(entry, str))

    def is_set(self, name: str) -> bool:
        """Return whether a switch is on."""
        return self._config.get(name) is True


def read_dimensions(facts: Facts) -> Published | None:
    """Read what the cache of each layer depends on; None when heads or widths are missing, or layers are unknown."""
    heads, width = facts.read_whole("num_attention_heads", "n_head"), facts.read_whole("hidden_size", "n_embd")
    pattern = _read_pattern(facts)
    if heads is None or width is None or not pattern:
        return None
    head = facts.read_whole("head_dim") or width // heads
    return Published(
        id=facts.read_text("_name_or_path") or "",
        names=(),
        layers=facts.read_whole("num_hidden_layers", "n_layer") or len(pattern),
        width=width,
        heads=heads,
        kv_heads=facts.read_whole("num_key_value_heads") or heads,
        head=head,
        ffn=facts.read_whole("moe_intermediate_size", "intermediate_size") or 0,
        vocabulary=facts.read_whole("vocab_size") or 0,
        pattern=pattern,
        window=facts.read_whole("sliding_window", "attention_chunk_size"),
        full=_read_full(facts, head),
        linear=_read_linear(facts),
        mamba=_read_mamba(facts),
        mla=_read_latent(facts),
        convolution=facts.read_whole("conv_L_cache") or 0,
        shared_kv=facts.read_whole("num_kv_shared_layers") or 0,
    )


def _read_pattern(facts: Facts) -> str:
    """Read the kinds of layers; empty when one is of a kind that is not known."""
    listed = facts.read_texts("layer_types")
    if listed:
        return "".join(_KINDS[kind] for kind in listed) if set(listed) <= _KINDS.keys() else ""
    blocks = facts.read_texts("layers_block_type")
    if blocks:
        return "".join(_NEMOTRON_KINDS[kind] for kind in blocks) if set(blocks) <= _NEMOTRON_KINDS.keys() else ""
    written = facts.read_text("hybrid_override_pattern")
    if written:
        return "".join(_NEMOTRON[letter] for letter in written) if set(written) <= _NEMOTRON.keys() else ""
    interval = facts.read_whole("full_attention_interval")
    if interval and facts.read_whole("linear_num_value_heads"):
        return "L" * (min(interval, 64) - 1) + "F"
    return _read_windows(facts)


def _read_windows(facts: Facts) -> str:
    known = _PERIODS.get(facts.read_text("model_type") or "")
    period = facts.read_whole("sliding_window_pattern") or known
    if period is None or facts.read_whole("sliding_window") is None:
        return "F"
    return "W" * (min(period, 64) - 1) + "F"


def _read_full(facts: Facts, head: int) -> FullLayers | None:
    kv_heads, length = facts.read_whole("num_global_key_value_heads"), facts.read_whole("global_head_dim")
    if kv_heads is None and length is None:
        return None
    return FullLayers(
        kv_heads=kv_heads or facts.read_whole("num_key_value_heads") or 1,
        head=length or head,
        values_are_keys=facts.is_set("attention_k_eq_v"),
    )


def _read_linear(facts: Facts) -> LinearAttention | None:
    keys, values = facts.read_whole("linear_num_key_heads"), facts.read_whole("linear_num_value_heads")
    head, kernel = facts.read_whole("linear_key_head_dim"), facts.read_whole("linear_conv_kernel_dim")
    if keys is None or values is None or head is None or kernel is None:
        return None
    return LinearAttention(key_heads=keys, value_heads=values, head=head, kernel=kernel)


def _read_mamba(facts: Facts) -> Mamba | None:
    heads, head = (
        facts.read_whole("mamba_num_heads", "mamba_n_heads"),
        facts.read_whole("mamba_head_dim", "mamba_d_head"),
    )
    state, kernel = facts.read_whole("ssm_state_size", "mamba_d_state"), facts.read_whole("conv_kernel", "mamba_d_conv")
    if heads is None or head is None or state is None or kernel is None:
        return None
    groups = facts.read_whole("n_groups", "mamba_n_groups") or 1
    return Mamba(inner=heads * head, state=state, groups=groups, heads=heads, kernel=kernel)


def _read_latent(facts: Facts) -> LatentAttention | None:
    kv, rope = facts.read_whole("kv_lora_rank"), facts.read_whole("qk_rope_head_dim")
    nope, value = facts.read_whole("qk_nope_head_dim"), facts.read_whole("v_head_dim")
    if kv is None or rope is None or nope is None or value is None:
        return None
    return LatentAttention(kv=kv, q=facts.read_whole("q_lora_rank") or 0, rope=rope, nope=nope, value=value)
