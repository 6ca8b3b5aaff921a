"""`trainer`: a LoRA from a recipe, a data set and a base model, over the devices that the task was given.

The worker keeps what must outlive an attempt in a folder of the task: checkpoints, each whole or absent, and the losses
of its steps. A lost or preempted attempt is followed by one that resumes from the last checkpoint.

Belongs here: recipes as data (`recipes`), the check of a data set (`datasets`), the launch of one process per device
(`launching`), checkpoints (`checkpoints`), the worker's side (`worker`), the trainer of language models (`lm_lora`).
Does not belong here: an own environment (`corral.engines.environments`), ending processes (`corral.processes`), models
by name (`corral.weights`).
"""
