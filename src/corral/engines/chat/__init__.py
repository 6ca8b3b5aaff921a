"""Chats as OpenAI's API has them: messages with images, and the stream of an answer.

Belongs here: what engines share whose servers speak that API, one that Corral runs or one elsewhere.
Does not belong here: what only one of them knows.
May import: `corral.engines`' own modules outside of any engine's folder, `corral.work`, `corral.errors`.
"""
