"""The ComfyUI door: one virtual ComfyUI over all instances; each prompt is a durable task.

Clients see one queue and one history, their owner's own. What Corral does not own (the page itself, settings, saved
workflows) is passed to one instance for each browser.

Belongs here: ComfyUI's routes, shapes, events and errors, as its clients know them.
Does not belong here: what a prompt is stored as and which instance it goes to (`corral.server.doors`).
"""
