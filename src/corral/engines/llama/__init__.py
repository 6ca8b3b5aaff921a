"""`llama`: text from GGUF models through llama.cpp, in a worker process of its own per slot.

Belongs here: its inputs and options (`inputs`), the programs of llama.cpp (`program`, `builtin`), requests to
them (`requests`) and what they answer (`reply`).
Does not belong here: the server's side of worker processes (`corral.engines.local`).
"""
