"""OpenAI's API over all instances: `/v1`, without audio, files and batches, which have folders of their own.

Belongs here: OpenAI's routes, errors and streams, and what its clients rely on where servers deviate.
Does not belong here: how a request reaches a server (`corral.gateway.passing`).
"""
