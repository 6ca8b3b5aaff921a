"""`command`: any program, run below a worker process.

Belongs here: its inputs (`inputs`), its worker side (`worker`).
Does not belong here: the server's side of worker processes (`corral.engines.local`).
"""
