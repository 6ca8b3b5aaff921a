"""Kubernetes manifests of a cluster: a kustomize base, an overlay for each layout, templates of Jobs.

Objects are typed (`lightkube-models`, made from the official OpenAPI of the newest Kubernetes); the manifests work on
1.34 and later.

Belongs here: the objects, their names and labels, values of NVIDIA's charts, and refusals of what cannot run.
Does not belong here: queues of Kueue, which are in `rendering.kueue`; calls to a cluster.
"""
