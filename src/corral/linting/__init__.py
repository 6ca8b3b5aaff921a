"""Judges configuration that people wrote: manifests, Nix, Compose, LiteLLM files, and such blocks in Markdown.

Belongs here: reading text into trees with places, the rules, what they found, the edits that mend it.
Does not belong here: opening files, talking to a cluster, printing.
May import: `corral.hardware`, `corral.cluster`, `corral.figures`, `corral.units`, `corral.errors`.
"""
