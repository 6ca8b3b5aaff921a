"""`whisper`: speech to text and subtitles through faster-whisper, in a worker process of its own per slot.

Belongs here: its inputs and options (`inputs`), its worker side (`worker`).
Does not belong here: the server's side of worker processes (`corral.engines.local`).
"""
