"""Servers that speak OpenAI's API, by URL: chats, texts, vectors, speech, transcriptions and images.

vLLM, SGLang, llama-server, LM Studio, LocalAI, Speaches, Kokoro-FastAPI, the server of stable-diffusion.cpp and others:
each has a part of that API, and dialects of it. A request ends with its connection, so a lost attempt leaves nothing
behind that another one would have to find.

Belongs here: what such servers accept and answer, and what their answers mean to the queue.
Does not belong here: the stream of a chat (`corral.engines.chat`), which server a task goes to, retries of a task.
May import: `corral.engine_kinds`, `corral.engines.http`, `corral.engines.chat`, `corral.engines`' own modules outside
of any engine's folder, `corral.work`, `corral.units`, `corral.errors`.
"""
