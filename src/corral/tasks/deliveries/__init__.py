"""Outputs that are written to folders by themselves: copied whole out of the artifact store, and tried until done.

Belongs here: the copy itself, and the loop that does it for what the store says is open.
Does not belong here: which folders are allowed (`corral.cluster`), what is open (`corral.tasks.store.deliveries`).
May import: what `corral.tasks` can.
"""
