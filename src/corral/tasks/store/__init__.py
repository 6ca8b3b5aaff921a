"""The queue in PostgreSQL.

Every change of a task's life goes through `transitions.apply`, which locks the rows, asks the pure lifecycle, and
writes states, outputs and story in one transaction. Nothing here waits for anything but the database.
"""
