"""Characters: their words, reference images, LoRA and voice, as values, in files and in the database.

Belongs here: the shape of a characters file, its reading and writing, revisions in the database.
Does not belong here: sets of their pictures, HTTP, printing.
May import: `corral.batchfile`, `corral.tasks.store`, `corral.cluster`, `corral.requests`, `corral.errors`.
"""
