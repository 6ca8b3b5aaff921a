"""How a model is run: what its memory depends on besides its shape."""

from __future__ import annotations

from dataclasses import dataclass

USUAL_CONTEXT = 4096
"""Tokens; Ollama's default below 24 GiB of VRAM (docs/context-length.mdx), and that of Corral's `llama` engine."""
USUAL_BATCH = 512
"""Tokens of a prompt that are worked on at once: `n_ubatch` in llama.cpp's `common_params` (common/common.h)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Running:
    """The settings of llama.cpp and Ollama that change how much memory a model takes."""

    context: int = USUAL_CONTEXT
    """Tokens for each of the parallel sequences."""
    parallel: int = 1
    """Sequences that are worked on at the same time."""
    cache_type_k: str = "f16"
    cache_type_v: str = "f16"
    batch: int = USUAL_BATCH
    flash_attention: bool = True
    """llama.cpp turns it on where the card can (`--flash-attn auto`)."""
    scores_whole_batch: bool = False
    """Whether room is kept for the scores of every token of a batch. llama.cpp's server did that until it learned
    `n_outputs_max`; now it keeps room for one token of each sequence. Which one an Ollama has is not known."""

    @property
    def scored(self) -> int:
        """Tokens whose scores are computed at once."""
        return self.batch if self.scores_whole_batch else self.parallel
