"""Changes the text of a cluster file and leaves everything else in it as the user wrote it.

An edit is a splice into the text at the place that the YAML parser gives, so comments, order, quoting and layout stay,
and a line that an edit is not about stays byte for byte the same. (A round trip through a YAML writer keeps comments,
but not the layout of flow mappings, indentation and long lines.) The values that are meant are kept next to the
text; at the end the text is read again, and an edit that did anything else, such as changing an anchor that is used
elsewhere, is refused.

Belongs here: edits of the text, from single values to whole nodes.
Does not belong here: deciding what to change (`corral.planning.changes`), opening files.
May import: `corral.cluster`, `corral.units`, `corral.errors`.
"""
