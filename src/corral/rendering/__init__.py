"""Writes the configuration of an installation: a cluster file and a layout in, `{path: text}` out, byte for byte.

Belongs here: Kubernetes, Kueue, NixOS and K3s, LiteLLM, Prometheus, Grafana, Alloy, Compose and systemd files.
Does not belong here: deciding what runs where (planning), writing files, talking to a cluster.
May import: `corral.hardware`, `corral.cluster`, `corral.container_images`, `corral.engine_kinds`, `corral.hours`,
`corral.presets`, `corral.units`, `corral.errors`.
"""
