"""`job`: an image that runs on a Kubernetes cluster as a Job, which Kueue admits.

Belongs here: its inputs and options (`inputs`), the Job's manifest (`manifest`), how far an attempt is (`course`),
the files that come and go (`files`), the engine itself (`engine`).
Does not belong here: requests to the API server (`corral.kubernetes`), quotas and queues (Kueue; `corral.rendering`).
"""
