"""Word from the server: signed webhooks and notifications of people, out of an outbox that survives a kill.

Belongs here: what is worth a message and to whom, the outbox, how messages are written, signed and sent.
Does not belong here: the story (`corral.tasks`), which receivers a file can name (`corral.cluster`), HTTP routes.
May import: `corral.tasks`, `corral.slots`, `corral.processes`, `corral.cluster`, `corral.work`, `corral.printable`,
`corral.hours`, `corral.units`, `corral.errors`.
"""
