"""The fields of a Compose file, as `compose-spec.json` of compose-go 2.9.0 has them (Docker Compose 2.40.3).

A test compares them with the specification that Docker Compose itself carries.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import Any

from corral.errors import closest
from corral.linting.tree import Tree

Fields = Mapping[str, Any]
"""The fields below each field: another such mapping, or None for any value. `*` stands for names of one's own; the
entries of a list have the fields of the list."""
ANY_NAME = "*"


def _list(names: str, **below: Fields) -> Fields:
    return {**dict.fromkeys(names.split()), **below}


_UPDATES = _list("parallelism delay failure_action monitor max_failure_ratio order")
_SECRETS = _list("source target uid gid mode")
_ULIMITS: Fields = {ANY_NAME: _list("hard soft")}
_RATES = _list("path rate")
_HOOK = _list("command user privileged working_dir environment")
_EXTERNAL = _list("name")
DEVICE = _list("capabilities count device_ids driver options")
_DEPLOY = _list(
    "mode endpoint_mode replicas labels",
    rollback_config=_UPDATES,
    update_config=_UPDATES,
    resources={
        "limits": _list("cpus memory pids"),
        "reservations": _list(
            "cpus memory", devices=DEVICE, generic_resources={"discrete_resource_spec": _list("kind value")}
        ),
    },
    restart_policy=_list("condition delay max_attempts window"),
    placement=_list("constraints max_replicas_per_node", preferences=_list("spread")),
)
_BUILD = _list(
    "context dockerfile dockerfile_inline entitlements args ssh labels cache_from cache_to no_cache "
    "additional_contexts network provenance sbom pull target shm_size extra_hosts isolation privileged tags platforms",
    secrets=_SECRETS,
    ulimits=_ULIMITS,
)
_VOLUME_MOUNT = _list(
    "type source target read_only consistency",
    bind=_list("propagation create_host_path recursive selinux"),
    volume=_list("labels nocopy subpath"),
    tmpfs=_list("size mode"),
    image=_list("subpath"),
)
SERVICE = _list(
    "annotations attach cap_add cap_drop cgroup cgroup_parent command container_name cpu_count cpu_percent cpu_shares "
    "cpu_quota cpu_period cpu_rt_period cpu_rt_runtime cpus cpuset device_cgroup_rules dns dns_opt dns_search "
    "domainname entrypoint label_file environment expose external_links extra_hosts group_add hostname image init ipc "
    "isolation labels links mac_address mem_limit mem_reservation mem_swappiness memswap_limit network_mode "
    "oom_kill_disable oom_score_adj pid pids_limit platform privileged profiles pull_policy pull_refresh_after "
    "read_only restart runtime scale security_opt shm_size sysctls stdin_open stop_grace_period stop_signal "
    "storage_opt tmpfs tty use_api_socket user uts userns_mode volumes_from working_dir",
    develop={"watch": _list("ignore include path action target initial_sync", exec=_HOOK)},
    deploy=_DEPLOY,
    build=_BUILD,
    blkio_config=_list(
        "weight",
        device_read_bps=_RATES,
        device_read_iops=_RATES,
        device_write_bps=_RATES,
        device_write_iops=_RATES,
        weight_device=_list("path weight"),
    ),
    configs=_SECRETS,
    credential_spec=_list("config file registry"),
    depends_on={ANY_NAME: _list("restart required condition")},
    devices=_list("source target permissions"),
    env_file=_list("path format required"),
    extends=_list("service file"),
    provider=_list("type options"),
    gpus=DEVICE,
    healthcheck=_list("disable interval retries test timeout start_period start_interval"),
    logging=_list("driver options"),
    models={ANY_NAME: _list("endpoint_var model_var")},
    networks={
        ANY_NAME: _list(
            "aliases interface_name ipv4_address ipv6_address link_local_ips mac_address driver_opts priority "
            "gw_priority"
        )
    },
    ports=_list("name mode host_ip target published protocol app_protocol"),
    post_start=_HOOK,
    pre_stop=_HOOK,
    secrets=_SECRETS,
    ulimits=_ULIMITS,
    volumes=_VOLUME_MOUNT,
)
PROJECT: Fields = MappingProxyType(
    _list(
        "version name",
        include=_list("path env_file project_directory"),
        services={ANY_NAME: SERVICE},
        models={ANY_NAME: _list("name model context_size runtime_flags")},
        networks={
            ANY_NAME: _list(
                "name driver driver_opts internal enable_ipv4 enable_ipv6 attachable labels",
                ipam=_list("driver options", config=_list("subnet ip_range gateway aux_addresses")),
                external=_EXTERNAL,
            )
        },
        volumes={ANY_NAME: _list("name driver driver_opts labels", external=_EXTERNAL)},
        secrets={
            ANY_NAME: _list("name environment file labels driver driver_opts template_driver", external=_EXTERNAL)
        },
        configs={ANY_NAME: _list("name content environment file labels template_driver", external=_EXTERNAL)},
    )
)
"""The fields of a whole file."""
_OWN = "x-"
"""The beginning of fields of one's own, which the specification allows everywhere."""
_NEAR = 0.75
"""The similarity of two names at which one is suggested for the other."""

UnknownField = tuple[Tree, str, str, str | None]


def find_unknown_fields(tree: Tree, fields: Fields = PROJECT, where: str = "") -> Iterator[UnknownField]:
    """Yield each unknown key: the value, the key, the path of its mapping, and a known key that is similar.

    The path of a whole file is empty.
    """
    below = fields.get(ANY_NAME)
    for name, value in tree.items:
        known = below if below is not None else fields.get(name)
        if below is None and name not in fields:
            if not name.startswith(_OWN):
                yield value, name, where, closest(name, fields, cutoff=_NEAR)
            continue
        for part in value.entries if value.is_list else (value,):
            if known is not None and part.is_mapping:
                yield from find_unknown_fields(part, known, f"{where}.{name}".lstrip("."))
