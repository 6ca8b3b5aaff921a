"""`onnx`: makes, enlarges and checks small pictures on a processor, in a worker process of its own per slot.

Belongs here: its inputs and options (`inputs`), its worker side (`worker`), pictures as files (`pictures`), the models
(`faces`, `upscaling`, `detecting`).
Does not belong here: what is measured without a model (`corral.engines.inspect`), the server's side of worker processes
(`corral.engines.local`).
"""
