"""The audio routes of OpenAI's API: speech, transcriptions, translations, voices.

Speech is made by local engines as a guest of the queue and sent while it is made, or asked of a server that has these
routes itself. Formats are made by a process of its own (`encoder`), so that FFmpeg is never in the server.

Belongs here: these routes, the fields of their requests, the forms of their answers.
Does not belong here: how an engine speaks or hears (`corral.engines`), where voices are kept (`corral.tasks`).
"""
