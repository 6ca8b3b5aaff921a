"""The shape of a model: what its file says about the memory and bandwidth that it takes; no weights.

What the file does not say is None: formulas that need it then answer "unknown".
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from corral.figures import Origin
from corral.units import Bytes

_NOTHING = Bytes(0)


class Part(StrEnum):
    """Where in a model a tensor belongs; llama.cpp places these parts, not single tensors."""

    EMBEDDING = "embedding"
    """Turns tokens into vectors: a look-up, which llama.cpp leaves to the processor."""
    BLOCK = "block"
    """One of the layers that repeat."""
    OUTPUT = "output"
    """Turns the last vector into scores of tokens."""
    VISION = "vision"
    """Turns images into vectors: encoder and projector, not read for a token of text."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Tensor:
    """One array of weights."""

    name: str
    type: str
    """The ggml type (`Q4_K`), or that of safetensors (`BF16`)."""
    dimensions: tuple[int, ...]
    """In ggml's order: the length of a row comes first."""
    size: Bytes
    part: Part
    block: int | None = None
    """For a tensor of a block: which."""
    is_expert: bool = False
    """Whether it holds the weights of all experts, of which a token uses some."""

    @property
    def numbers(self) -> int:
        """How many weights it has."""
        count = 1
        for dimension in self.dimensions:
            count *= dimension
        return count


@dataclass(frozen=True, slots=True, kw_only=True)
class Attention:
    """How one layer attends to earlier tokens: what its share of the KV cache depends on."""

    heads: int
    kv_heads: int
    """Fewer than `heads` where several share a key and a value (GQA); 1 where all do (MQA)."""
    key_length: int
    value_length: int
    window: int | None = None
    """How many tokens back it looks; None is all of them."""
    has_values: bool = True
    """False where values are computed from the keys that are cached (MLA)."""

    @property
    def key_numbers(self) -> int:
        """Numbers of one token's keys."""
        return self.kv_heads * self.key_length

    @property
    def value_numbers(self) -> int:
        """Numbers of one token's values."""
        return self.kv_heads * self.value_length if self.has_values else 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Block:
    """One layer."""

    weights: Bytes
    expert_weights: Bytes = _NOTHING
    """Of these, those of the experts."""
    attention: Attention | None = None
    """None where the layer has no attention, or where its facts are missing: `ModelShape.is_attention_known` says."""
    state_numbers: int = 0
    """For a recurrent layer: 32-bit numbers that it keeps for each sequence, however long that is."""
    is_cacheless: bool = False
    """Whether it is known to keep no keys and values of its own: a recurrent layer, or one that uses another's."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelShape:
    """The facts of one model."""

    name: str
    origin: Origin
    """MODEL_FILE when read from headers; ASSUMED when made up from a name."""
    source: str
    """The file or URL, or what the assumption is."""
    architecture: str | None
    parameters: int
    quantization: str | None
    """`Q4_K_M`, `BF16`; None when mixed or unknown."""
    blocks: tuple[Block, ...]
    embedding: Bytes
    """Bytes of the tensors that turn tokens into vectors."""
    output: Bytes
    """Bytes of the tensors after the last block."""
    input_only: Bytes = _NOTHING
    """Of the embedding, what is never the output: the embeddings that each layer has of its own (Gemma 3n and 4)."""
    vision: Bytes = _NOTHING
    """Bytes of what sees images, encoder and projector: on the first GPU, and not read for a token of text."""
    is_output_tied: bool = False
    """Whether the embedding serves as the output as well; llama.cpp then loads it a second time for the GPU."""
    is_attention_known: bool = True
    embedding_length: int | None = None
    feed_forward_length: int | None = None
    vocabulary: int | None = None
    context_length: int | None = None
    """Tokens that it was trained for."""
    experts: int = 0
    experts_used: int = 0
    is_embedding_on_cpu: bool = True
    """Whether the engine leaves the embedding to the processor, as llama.cpp does; PyTorch does not."""
    tensors: tuple[Tensor, ...] = ()
    """Every tensor; empty when the shape is an estimate."""

    @property
    def weights(self) -> Bytes:
        """Bytes of all tensors as the file holds them."""
        return Bytes(self.embedding + self.output + self.vision + sum(block.weights for block in self.blocks))

    @property
    def weights_on_gpu(self) -> Bytes:
        """Bytes that go to GPUs when every layer does: of the embedding, what is the output too.

        llama.cpp keeps the input layer on the processor (`load_tensors`, src/llama-model.cpp: "there is very little
        benefit to offloading the input layer, so always keep it on the CPU").
        """
        if not self.is_embedding_on_cpu:
            return self.weights
        return Bytes(self.weights - (self.input_only if self.is_output_tied else self.embedding))

    @property
    def is_mixture(self) -> bool:
        """Whether a token uses some of its experts only."""
        return self.experts > self.experts_used > 0
