"""Keeps the files and batches of clients that speak OpenAI's protocol, and turns batches into tasks and back.

Belongs here: `corral.gateway.openai.batches.book` over the queue and the artifact store, and the steps of a batch.
Does not belong here: how requests become inputs, and results answers (`corral.gateway.openai.batches`), SQL.
"""
