"""The composition root: connects the queue, the engines and the hardware, and serves them over HTTP.

Belongs here: settings, start and stop, the HTTP API, tokens, metrics.
Does not belong here: decisions, database queries, engine protocols.
May import: everything but `corral.cli`.
"""
