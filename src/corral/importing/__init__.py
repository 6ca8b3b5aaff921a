"""A cluster file from what already runs: Compose projects, Kubernetes manifests, and the machines that they name.

Belongs here: what a file says in the words of a cluster file, what is not understood, and how rendering it differs.
Does not belong here: reading files, asking a cluster, rules about mistakes (`corral.linting`).
May import: `corral.linting` (its trees with places), `corral.rendering`, `corral.hardware`, `corral.cluster`,
`corral.container_images`, `corral.engine_kinds`, `corral.narrowing`, `corral.work`, `corral.units`, `corral.errors`.
"""
