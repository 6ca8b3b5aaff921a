"""How the files of `corral render` change, with the proposals: each shown in the section that it is about."""

from __future__ import annotations

from collections.abc import Mapping

from corral.planning.upgrade.comparing import Upgrade
from corral.planning.upgrade.report.pieces import code, paragraph

_MOST_FILES = 6
"""In each section; all of a large cluster are for `--files`."""
_LAST_RELEASE = "nixos/previous-channel/"
_LISTS = ("/kustomization.yaml", "/claims.yaml")


def of_nodes(upgrade: Upgrade) -> list[str]:
    """Show how the configuration of machines changes."""
    diffs = _of_nodes(upgrade)
    if not diffs:
        return paragraph("No node that the file gives a system or a role in K3s gets another configuration.")
    note = "`corral render` writes it; on NixOS `sudo nixos-rebuild switch` applies it, elsewhere a restart of K3s."
    return [*paragraph(note), *_shown(diffs)]


def of_services(upgrade: Upgrade) -> list[str]:
    """Show how the manifests of services change."""
    if upgrade.after.kubernetes is None:
        return []
    refused = upgrade.findings.rendered_after.refused or upgrade.findings.rendered_before.refused
    if refused:
        return paragraph(f"`corral render` writes no manifests for this file: {refused}.")
    return _shown(_of_services(upgrade)) or paragraph("No manifest of a service changes.")


def of_the_rest(upgrade: Upgrade) -> list[str]:
    """Show the other files where all were asked for; else say how to ask."""
    if not upgrade.findings.every_file:
        return paragraph("`--files` shows how every file of `corral render` changes.")
    shown = {*_first(_of_nodes(upgrade)), *_first(_of_services(upgrade))}
    diffs = upgrade.findings.file_diffs
    return [line for path in diffs if path not in shown for line in _diff(path, diffs[path])]


def _of_nodes(upgrade: Upgrade) -> Mapping[str, str]:
    diffs = upgrade.findings.file_diffs
    return {
        path: diff
        for path, diff in diffs.items()
        if path.startswith(("nixos/", "k3s/")) and not path.startswith(_LAST_RELEASE)
    }


def _of_services(upgrade: Upgrade) -> Mapping[str, str]:
    diffs = upgrade.findings.file_diffs
    return {
        path: diff
        for path, diff in diffs.items()
        if path.startswith(("kubernetes/overlays/", "kubernetes/jobs/")) and not path.endswith(_LISTS)
    }


def _first(diffs: Mapping[str, str]) -> list[str]:
    return list(diffs)[:_MOST_FILES]


def _shown(diffs: Mapping[str, str]) -> list[str]:
    lines = [line for path in _first(diffs) for line in _diff(path, diffs[path])]
    rest = len(diffs) - _MOST_FILES
    return lines + (paragraph(f"{rest} more: `--files` shows every file.") if rest > 0 else [])


def _diff(path: str, diff: str) -> list[str]:
    return [*paragraph(f"`{path}`, with the proposals:"), *code("diff", diff)]
