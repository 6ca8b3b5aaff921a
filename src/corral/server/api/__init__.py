"""The HTTP API, version 1: reads what is asked, calls one use case, writes the answer.

Belongs here: routes, the shapes of requests and answers, errors as HTTP sees them, streams of events.
Does not belong here: SQL, rules of the queue, knowledge of an engine.
May import: everything but `corral.cli`.
"""
