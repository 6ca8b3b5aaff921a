"""Reads a model file's description of itself, without its weights: GGUF and safetensors, here or on a web server.

Belongs here: bytes of headers to a `ModelShape`, bounded in time and memory whatever the bytes are.
Does not belong here: what a shape takes in memory (`corral.hardware.fit`), fetching whole models (`corral.weights`).
May import: `corral.hardware`, `corral.figures`, `corral.units`, `corral.errors`, the rest of `corral.weights`.
"""
