"""Keys of clients while the server runs: who they are, what each can still ask for, and what they used.

Belongs here: tokens in memory, limits of each, failed tries by address, usage that is written behind.
Does not belong here: what a token is and how it is stored (`corral.tasks.store`), what a request asks for.
May import: `corral.tasks`, `corral.gateway`, `corral.requests`, `corral.errors`.
"""
