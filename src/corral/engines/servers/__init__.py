"""Servers of instances that Corral runs itself (`run` in the cluster file), behind `corral.work.Engine`.

Belongs here: what is started and with which surroundings, when it is started and stopped, who uses it.
Does not belong here: the protocol of an engine (its own folder), keeping a process (`corral.processes`).
May import: as `corral.engines`.
"""
