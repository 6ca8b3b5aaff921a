"""Connects the doors of `corral.gateway` with what the server runs.

Belongs here: the protocols that doors declare, fulfilled over the queue, its store and the engines.
Does not belong here: the protocols themselves, as clients speak them.
"""
