"""Decides which pictures are kept: measurements and thresholds in, a verdict with its reasons out.

Belongs here: verdicts, near-duplicates, and which settings give pictures that are kept.
Does not belong here: measuring (`corral.engines`), what a set wants, the database.
May import: nothing of Corral but values.
"""
