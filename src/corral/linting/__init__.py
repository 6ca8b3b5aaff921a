"""Lints configuration that people wrote: manifests, Nix, Compose and LiteLLM files, and blocks of these in Markdown.

Belongs here: reading text into trees with places, the rules, their findings, the edits that fix them.
Does not belong here: opening files, talking to a cluster, printing.
May import: `corral.hardware`, `corral.cluster`, `corral.container_images`, `corral.engine_kinds`, `corral.units`,
`corral.errors`.
"""
