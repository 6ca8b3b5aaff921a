"""Compose files as Docker Compose reads them: projects of several files, with what their services run and get.

Belongs here: which files are one project, merging, `extends`, variables and `.env`, the fields of the specification,
services as values.
Does not belong here: what is wrong with a service (`corral.linting.rules`).
May import: as `corral.linting`.
"""
