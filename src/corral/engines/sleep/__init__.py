"""`sleep`: an engine that waits, for rehearsals and benchmarks; it has no worker.

Belongs here: its inputs (`inputs`) and the engine itself (`engine`).
"""
