"""`piper`: speech from text with Piper, which runs as a program below a worker process.

Belongs here: its inputs and options (`inputs`), its worker side (`worker`).
Does not belong here: the server's side of worker processes (`corral.engines.local`).
"""
