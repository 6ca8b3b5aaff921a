"""`kokoro`: speech from text with Kokoro-82M, in a worker process of its own per slot.

Belongs here: its inputs and options (`inputs`), its worker side (`worker`), the sounds of a text (`phonemes`),
the files in which voices and vocabularies are published (`files`).
Does not belong here: the server's side of worker processes (`corral.engines.local`).
"""
