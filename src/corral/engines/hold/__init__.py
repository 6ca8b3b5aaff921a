"""`hold`: the engine whose work is done elsewhere, by a program that was given the devices of its slots.

Belongs here: its inputs (`inputs`) and the engine itself (`engine`).
Does not belong here: when a hold ends, which the queue keeps (`corral.work.HoldBook`); starting the program.
"""
