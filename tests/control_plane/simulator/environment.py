"""What a container is told: its environment, command and user, as the kubelet makes them. Decides; asks nothing."""

from __future__ import annotations

import base64
import re
from collections.abc import Callable, Mapping, Sequence

from control_plane.simulator.objects import EMPTY, Json

PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_REFERENCE = re.compile(r"\$(\$|\(([-._a-zA-Z][-._a-zA-Z0-9]*)\))")


class ConfigurationError(Exception):
    """A container cannot be created as it is written, in the kubelet's words."""


Find = Callable[[str, str], Json]
"""Finds an object by kind and name in the pod's namespace; None when there is none."""


def expand(text: str, variables: Mapping[str, str]) -> str:
    """Replace `$(NAME)` where the name is known; `$$` is a dollar sign."""

    def replace(match: re.Match[str]) -> str:
        if match[1] == "$":
            return "$"
        return variables.get(match[2], match[0])

    return _REFERENCE.sub(replace, text)


def make_environment(
    pod: Json, container: Json, *, image: Mapping[str, str], services: Mapping[str, str], node: Json, find: Find
) -> dict[str, str]:
    """Make a container's variables: the image's, the Services', `envFrom`, `env`. Raises: ConfigurationError."""
    variables = {"PATH": PATH, "HOSTNAME": pod["metadata"]["name"], "HOME": "/root", **image, **services}
    for source in container.get("envFrom") or ():
        prefix = source.get("prefix", "")
        for kind, key in (("ConfigMap", "configMapRef"), ("Secret", "secretRef")):
            if key not in source:
                continue
            value = find(kind, source[key]["name"])
            if value is None and not source[key].get("optional"):
                raise ConfigurationError(f'{kind.lower()} "{source[key]["name"]}" not found')
            variables |= {prefix + name: text for name, text in read_texts(value).items()}
    for entry in container.get("env") or ():
        text = _resolve(pod, container, entry, variables, node, find)
        if text is not None:
            variables[entry["name"]] = text
    return variables


def _resolve(
    pod: Json, container: Json, entry: Json, variables: Mapping[str, str], node: Json, find: Find
) -> str | None:
    source = entry.get("valueFrom")
    if source is None:
        return expand(entry.get("value") or "", variables)
    if "fieldRef" in source:
        return read_field(pod, source["fieldRef"]["fieldPath"])
    if "resourceFieldRef" in source:
        return read_resource(container, source["resourceFieldRef"], node)
    for kind, key in (("ConfigMap", "configMapKeyRef"), ("Secret", "secretKeyRef")):
        if key not in source:
            continue
        reference = source[key]
        value = find(kind, reference["name"])
        if value is None:
            if reference.get("optional"):
                return None
            raise ConfigurationError(f'{kind.lower()} "{reference["name"]}" not found')
        texts = read_texts(value)
        if reference["key"] not in texts:
            if reference.get("optional"):
                return None
            namespace = pod["metadata"]["namespace"]
            raise ConfigurationError(f"couldn't find key {reference['key']} in {kind} {namespace}/{reference['name']}")
        return texts[reference["key"]]
    return None


def read_texts(value: Json) -> dict[str, str]:
    """Read what a ConfigMap or a Secret has, as text."""
    return {key: data.decode(errors="replace") for key, data in read_data(value).items()}


def read_data(value: Json) -> dict[str, bytes]:
    """Read what a ConfigMap or a Secret has."""
    if value is None:
        return {}
    if value["kind"] == "Secret":
        return {key: base64.b64decode(text) for key, text in (value.get("data") or EMPTY).items()}
    texts = {key: text.encode() for key, text in (value.get("data") or EMPTY).items()}
    return texts | {key: base64.b64decode(text) for key, text in (value.get("binaryData") or EMPTY).items()}


def read_field(pod: Json, path: str) -> str:
    """Read a field of the pod that a container can ask for."""
    match = re.fullmatch(r"metadata\.(labels|annotations)\['(.+)'\]", path)
    if match is not None:
        return (pod["metadata"].get(match[1]) or EMPTY).get(match[2], "")
    if path in ("metadata.labels", "metadata.annotations"):
        values = pod["metadata"].get(path.partition(".")[2]) or EMPTY
        return "\n".join(f'{name}="{text}"' for name, text in sorted(values.items()))
    if path in ("status.podIPs", "status.hostIPs"):
        key = "podIPs" if path == "status.podIPs" else "hostIPs"
        return ",".join(entry["ip"] for entry in pod.get("status", EMPTY).get(key) or ())
    value: Json = pod
    for part in path.split("."):
        value = (value or EMPTY).get(part)
    return str(value or "")


def read_resource(container: Json, reference: Json, node: Json) -> str:
    """Read a limit or a request of the container, in the divisor's unit, rounded up."""
    where, _, resource = reference["resource"].partition(".")
    text = (container.get("resources", EMPTY).get(where) or EMPTY).get(resource)
    if text is None:
        text = node["status"]["allocatable"].get(resource, "0")
    divisor = parse_quantity(str(reference.get("divisor") or "1")) or 1
    return str(int(-(-parse_quantity(str(text)) // divisor)))


_UNITS = {"": 1.0, "m": 1e-3, "k": 1e3, "M": 1e6, "G": 1e9, "T": 1e12} | {
    f"{unit}i": 1024.0 ** (power + 1) for power, unit in enumerate("KMGT")
}


def parse_quantity(text: str) -> float:
    """Read a quantity, such as 500m, 2 or 16Gi."""
    match = re.fullmatch(r"([0-9.]+)([a-zA-Z]*)", text)
    return float(match[1]) * _UNITS[match[2]] if match is not None else 0.0


def make_service_variables(services: Sequence[Json], namespace: str, *, links: bool) -> dict[str, str]:
    """Make the variables that name the Services: those of the namespace when the pod has links, and `kubernetes`."""
    variables: dict[str, str] = {}
    for service in services:
        metadata, spec = service["metadata"], service["spec"]
        is_master = metadata["namespace"] == "default" and metadata["name"] == "kubernetes"
        if not (is_master or (links and metadata["namespace"] == namespace)):
            continue
        address, ports = spec.get("clusterIP"), spec.get("ports") or ()
        if not ports or address in (None, "", "None"):
            continue
        name = metadata["name"].upper().replace("-", "_")
        variables[f"{name}_SERVICE_HOST"] = address
        variables[f"{name}_SERVICE_PORT"] = str(ports[0]["port"])
        first = ports[0].get("protocol", "TCP").lower()
        variables[f"{name}_PORT"] = f"{first}://{address}:{ports[0]['port']}"
        for port in ports:
            if port.get("name"):
                variables[f"{name}_SERVICE_PORT_{port['name'].upper().replace('-', '_')}"] = str(port["port"])
            protocol = port.get("protocol", "TCP")
            start = f"{name}_PORT_{port['port']}_{protocol}"
            variables[start] = f"{protocol.lower()}://{address}:{port['port']}"
            variables[f"{start}_PROTO"] = protocol.lower()
            variables[f"{start}_PORT"] = str(port["port"])
            variables[f"{start}_ADDR"] = address
    return variables


def make_argv(
    container: Json, entrypoint: Sequence[str], arguments: Sequence[str], variables: Mapping[str, str]
) -> list[str]:
    """Make the command: `command` replaces the image's entry point and arguments, `args` the arguments."""
    command, given = container.get("command"), container.get("args")
    if command:
        words = [*command, *(given or ())]
        return [expand(word, variables) for word in words]
    if given:
        return [*entrypoint, *(expand(word, variables) for word in given)]
    return [*entrypoint, *arguments]
