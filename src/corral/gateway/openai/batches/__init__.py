"""OpenAI's files and batches: a file of requests becomes durable tasks, and their results files of answers.

Belongs here: the routes, lines of requests as inputs of engines, results as OpenAI's answers.
Does not belong here: how files and batches are stored and tasks submitted (`corral.server` fulfils `book`).
"""
