"""Kueue's queues (API v1beta2), mapped from the queues of the cluster file.

Belongs here: the objects (`queues`), and the division of GPUs among them (`quotas`).
Does not belong here: Jobs, which are in `rendering.kubernetes`.
"""
