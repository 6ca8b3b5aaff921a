"""From the text of a file to what rules look at: documents of YAML, blocks of Markdown, Nix, plain text.

Whatever cannot be read is named with its reason, and the rest is still read.
"""
