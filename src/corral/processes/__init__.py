"""Programs that Corral runs as processes of its own: started, ready, watched, logged, and ended whole.

A process starts in a session of its own below a keeper, with a mark in its environment. Whatever ends this process,
the keeper ends all that descends from the program; whatever ends the keeper, the kernel ends the program; what is left
after both, the next start finds by its mark.

Belongs here: processes and the servers among them, their logs, when a server can be started again.
Does not belong here: what a program does, which one is started, what is asked of it.
May import: `corral.errors`.
"""
