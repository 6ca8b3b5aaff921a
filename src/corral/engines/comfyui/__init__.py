"""ComfyUI instances by URL, one per slot: workflows filled from the task, run over HTTP, followed over a WebSocket.

An attempt's id is the prompt's id, and the prompt's id is its own WebSocket client id. So the attempts of a task are
enough to find its prompts on an instance again, adopt them, and receive their events; no other state has to survive.

Belongs here: what ComfyUI accepts and answers, and what its answers mean to the queue.
Does not belong here: which instance a task goes to, retries of a task.
May import: `corral.engine_kinds`, `corral.engines.narrowing`, `corral.engines.inputs`, `corral.engines.schema`,
`corral.work`, `corral.units`, `corral.errors`.
"""
