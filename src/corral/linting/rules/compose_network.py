"""Addresses and ports of Compose projects: hosts that are none, ports of the machine alone, what is open to all."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from urllib.parse import urlsplit

from corral.container_images import find_image
from corral.errors import closest
from corral.linting.compose.projects import Project
from corral.linting.compose.services import ComposeService
from corral.linting.corpus import Corpus
from corral.linting.documents import is_page
from corral.linting.registry import Violation, checks
from corral.linting.tree import Tree

_LOCAL = frozenset({"localhost", "127.0.0.1", "0.0.0.0", "::1"})
_ADDRESS = re.compile(r"^(?:https?|ws|postgres(?:ql)?|redis)(?:\+\w+)?://")
_LISTENS = re.compile(
    r"(?:^|_)(?:HOST|LISTEN|BIND|ORIGINS?|ORIGIN_URL|SELF|PUBLIC|EXTERNAL|SITE|APP_URL|WEBUI_URL)(?:_|$)"
)
"""Variables with the address of the service itself, as it listens or as browsers see it."""


@checks("D12", of_files=True)
def check_addresses(corpus: Corpus) -> Iterator[Violation]:
    """Look for addresses that lead nowhere from inside a project, and for variables that an image does not read."""
    for project in corpus.projects:
        by_name = {service.name: service for service in project.services}
        for service in project.services:
            yield from _find_misread(service)
            for name, value in service.env.items():
                yield from _judge_address(project, by_name, service, name, value)


def _find_misread(service: ComposeService) -> Iterator[Violation]:
    facts = find_image(service.image) if service.image else None
    for wrong, right in facts.misread.items() if facts else ():
        value = service.env.get(wrong)
        if value is not None and right not in service.env and _ADDRESS.match(value.raw or ""):
            what = f"{(service.image or '').partition(':')[0]} reads {right}, not {wrong}"
            yield Violation(place=value.place, what=what, subject=service)


def _judge_address(
    project: Project, services: Mapping[str, ComposeService], service: ComposeService, name: str, value: Tree
) -> Iterator[Violation]:
    """Report an address on the container itself that another service has, and a port that only the machine has."""
    is_client = any(name.startswith(f"{_name_variable(other)}_") for other in services if other != service.name)
    url = _split_url(value.raw or "") or (_split_url(f"http://{value.raw}") if is_client else None)
    if url is None or (_LISTENS.search(name) and not is_client) or service.tree["network_mode"]:
        return
    host, port = url
    if host in _LOCAL:
        others = [other for other in services.values() if other is not service and port in _list_own_ports(other)]
        if others and port not in _list_own_ports(service):
            is_on_machine = others[0].tree["network_mode"].raw == "host"
            instead = "host.docker.internal" if is_on_machine else others[0].name
            what = f"{name} leads to the container itself, where nothing listens on {port}: write {instead}:{port}"
            yield Violation(place=value.place, what=what, subject=service)
        return
    other = services.get(host)
    if other is None or port is None or other.tree["network_mode"]:
        return
    targets = {entry.target for entry in other.ports}
    published = {entry.published: entry.target for entry in other.ports}
    if port not in targets and published.get(port):
        what = f"{name} asks {host} for port {port}, which only the machine has: inside it is {published[port]}"
        yield Violation(place=value.place, what=what, subject=service)


def _name_variable(service: str) -> str:
    return service.upper().replace("-", "_")


def _list_own_ports(service: ComposeService) -> set[str]:
    """List the ports on which a service listens, as far as is known."""
    facts = find_image(service.image) if service.image else None
    ports = {port.target for port in service.ports if port.target}
    return ports | ({str(facts.port)} if facts and facts.port else set())


def _split_url(text: str) -> tuple[str, str | None] | None:
    """Split an address into its host and port; None for anything else."""
    if not _ADDRESS.match(text):
        return None
    try:
        parts = urlsplit(text)
        return (parts.hostname or "", str(parts.port) if parts.port else None)
    except ValueError:  # a port that is a placeholder
        return None


def find_misspelled_hosts(corpus: Corpus) -> Iterator[Violation]:
    """Report hosts that are spelled almost like a service of their project, and are none."""
    for project in corpus.projects:
        if not project.is_whole or is_page(project.document.tree.file):
            continue
        names = _list_hosts(project)
        for service in project.services:
            for name, value in service.env.items():
                url = _split_url(value.raw or "")
                host = url[0] if url else ""
                if not host or "." in host or host in names or host in _LOCAL:
                    continue
                meant = closest(host, names, cutoff=_MISSPELLED)
                if meant is not None:
                    what = f"{name} names the host {host!r}, and the service is {meant!r}"
                    yield Violation(place=value.place, what=what, subject=service)


_MISSPELLED = 0.8
"""The similarity of two names at which one is taken for a slip of the other."""


def _list_hosts(project: Project) -> frozenset[str]:
    """List every name by which a container of the project is reached."""
    names: set[str] = set(project.list_names("services"))
    for service in project.services:
        tree = service.tree
        names |= {value.raw or "" for value in (tree["container_name"], tree["hostname"])}
        names |= {alias.raw or "" for _, network in tree["networks"].items for alias in network["aliases"].entries}
        names |= tree["extra_hosts"].keys
        names |= {re.split("[=:]", entry.raw or "")[0] for entry in tree["extra_hosts"].entries}
        names |= {
            (entry.raw or "").partition(":")[2] for key in ("links", "external_links") for entry in tree[key].entries
        }
    return frozenset(names)


def find_open_ports(corpus: Corpus, is_unauthenticated: Callable[[str], bool]) -> Iterator[Violation]:
    """Report ports that are published on every address of a machine over a program without authentication."""
    for service in corpus.services:
        facts = find_image(service.image) if service.image else None
        has_no_login = facts.has_login is False if facts else is_unauthenticated(service.image or "")
        for port in service.ports if has_no_login else ():
            if port.address is None and port.published is not None and not service.tree["network_mode"]:
                what = (
                    f"port {port.published} of a program without authentication is open on every address of the machine"
                )
                yield Violation(place=port.place.place, what=what, subject=service)
