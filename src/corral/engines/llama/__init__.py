"""`llama`: text from GGUF models through llama.cpp, in a worker process of its own per slot.

Belongs here: its inputs and options (`inputs`), requests to llama.cpp and its streams (`chat`), the worker side
(`worker`).
Does not belong here: the server's side of worker processes (`corral.engines.local`).
"""
