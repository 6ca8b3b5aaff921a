"""Causes of the symptoms of a Kubernetes cluster, found in one snapshot of it.

Belongs here: diagnoses, which are pure functions of a snapshot, the answers of containers and the cluster file; the
questions to containers that they need; the pitfalls that they find.
Does not belong here: asking an API server or a container (`corral.kubernetes`), printing.
May import: `corral.linting` (pages of pitfalls, and rules that live objects can break), `corral.rendering`,
`corral.cluster`, `corral.narrowing`, `corral.snapshot`, `corral.units`, `corral.work`.
"""
