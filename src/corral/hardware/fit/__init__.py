"""The memory that a model needs, where it fits, and how fast it can be at most.

Belongs here: the shape of a model as a value; formulas for weights, KV cache, compute buffers and overheads, each with
its source in llama.cpp; placing one model on one GPU, on several, or partly on the processor; declared profiles for
the rest.
Does not belong here: reading a file (`corral.weights.headers`), placing many things on a cluster (`corral.planning`).
May import: `corral.cluster`, `corral.figures`, `corral.units`, `corral.errors`, the rest of `corral.hardware`.
"""
