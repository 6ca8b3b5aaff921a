"""The door of Comfy API v2: jobs, assets and their events, over the same prompts as ComfyUI's own door.

Belongs here: the routes, shapes and errors of `/api/v2`, as `comfy-sdk` knows them.
Does not belong here: what a prompt is (`corral.gateway.comfyui`), where files are kept (`corral.server.doors`).
"""
