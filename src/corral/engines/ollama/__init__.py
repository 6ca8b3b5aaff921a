"""Ollama servers by URL: chat, generate and embed, streamed.

A request ends with its connection, except that Ollama reads a prompt to its end. So a lost attempt leaves nothing
behind that another one would have to find.

Belongs here: what Ollama accepts and answers, and what its answers mean to the queue.
Does not belong here: which server a task goes to, retries of a task.
May import: `corral.engine_kinds`, `corral.engines.http`, `corral.engines`' own modules outside of any engine's folder,
`corral.work`, `corral.units`, `corral.errors`.
"""
