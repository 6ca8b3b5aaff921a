"""Backups: one archive of the queue's database, the files that it names, and the cluster file.

Belongs here: the format of the archive, taking one of a running server, laying one out in an empty data directory.
Does not belong here: HTTP, starting a database.
May import: `corral.tasks` and what it may import.
"""
