"""Doors for programs that people already have: each speaks a protocol of theirs, and reaches the same GPUs and queue.

A folder is a door. A request of a person is a guest of the queue (`corral.slots.guests`), or a durable task where its
protocol has jobs. What a door stores or submits goes through a protocol that it declares, and `corral.server` fulfils.

Belongs here: other people's protocols, models by name over all instances, passing requests on.
Does not belong here: which request goes where (`corral.tasks`, `corral.scheduling`), how a server is started or a model
loaded (`corral.engines`), Corral's own API (`corral.server`).
May import: `corral.cluster`, `corral.slots`, `corral.requests`, `corral.engine_facts`,
`corral.engine_kinds`, `corral.narrowing`, `corral.sentences`, `corral.work`,
`corral.units`, `corral.errors`.
"""
