"""Checks of a cloned line: are its words those that were asked for, and is its voice that of the sample?

Belongs here: comparing words, an embedding of a speaker in NumPy, the verdict.
Does not belong here: hearing and speaking (the engines), files of sound, reading weights (`corral.engines.tensors`).
May import: `corral.work`, `corral.errors`, NumPy.
"""
