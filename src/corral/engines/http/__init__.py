"""HTTP towards servers of engines that are reached by URL: requests with bounds, answers read as they arrive, failures.

Belongs here: what such engines share.
Does not belong here: paths and shapes of one engine's API, ComfyUI, whose work outlives a connection
(`corral.engines.comfyui.client`).
May import: `corral.engines`' own modules outside of any engine's folder, `corral.work`, `corral.errors`.
"""
