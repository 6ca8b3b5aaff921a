"""A flake of all nodes that run NixOS: a configuration for each, and a hive from which colmena deploys them.

The flake has the rendered module of each node and the machine's own configuration, which Corral neither knows nor
replaces. The form of `colmenaHive` and the options of `deployment` are those of colmena's manual for flakes
(https://colmena.cli.rs/0.5/tutorial/flakes.html) and of its `src/nix/hive/options.nix`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import PurePosixPath

from corral.cluster.values import Node
from corral.rendering.documents import write_header
from corral.rendering.installation import Installation
from corral.rendering.makers import runs_nixos
from corral.rendering.nixos.expressions import Value, format_value, quote_text
from corral.rendering.nixos.modules import FOLDERS, Channel
from corral.rendering.nodes import FLAKE

_NAME = PurePosixPath(FLAKE).stem
OWN_FOLDER = "machines"
"""The folder next to the flake with each machine's own configuration, by the machine's name."""
OWN_FILE = "configuration.nix"
RESERVED_NAMES = ("defaults", "meta", "network")
"""Names that a hive has for itself (colmena's `src/nix/hive/eval.nix`)."""
_NIXPKGS = "github:NixOS/nixpkgs/nixos-26.05"
"""The channel of machines whose owner has chosen none; another flake chooses one with `follows`."""
_COLMENA = "github:nix-community/colmena"

_FLAKE = """\
{{
  description = {description};

  inputs = {{
    nixpkgs.url = "{nixpkgs}";
    colmena = {{
      url = "{colmena}";
      inputs.nixpkgs.follows = "nixpkgs";
    }};
  }};

  outputs =
    {{ nixpkgs, colmena, ... }}:
    let
      inherit (nixpkgs) lib;
      rendered = if lib.versionAtLeast lib.trivial.release "{release}" then ./. else ./{previous};
      findOwn =
        name:
        let
          file = ./{own_folder} + "/${{name}}/{own_file}";
        in
        if builtins.pathExists file then
          file
        else
          throw (
            "{own_folder}/${{name}}/{own_file} is missing: copy the machine's /etc/nixos to {own_folder}/${{name}}, "
            + "and `git add` it where this folder is in git"
          );
      listModules = name: [
        (rendered + "/${{name}}.nix")
        (findOwn name)
      ];
      # How colmena reaches each machine.
      machines = {machines};
    in
    {{
      nixosConfigurations = builtins.mapAttrs (
        name: _: lib.nixosSystem {{ modules = listModules name; }}
      ) machines;

      colmenaHive = colmena.lib.makeHive (
        {{
          # The library of colmena's own evaluation; a machine's system is `nixpkgs.hostPlatform` in its configuration.
          meta.nixpkgs = import nixpkgs {{
            system = "x86_64-linux";
            overlays = [ ];
          }};
        }}
        // builtins.mapAttrs (name: deployment: {{
          inherit deployment;
          imports = listModules name;
        }}) (builtins.removeAttrs machines [ {reserved} ])
      );
    }};
}}
"""


def render_flake(installations: tuple[Installation, ...]) -> Mapping[str, str]:
    """Render the flake, by its path; nothing where no node runs NixOS, or one's module has the flake's name."""
    installation = replace(installations[0], layout=None)
    nodes = [node for node in installation.cluster.nodes if runs_nixos(node)]
    if not nodes or list_flake_notes(installation):
        return {}
    text = _FLAKE.format(
        description=quote_text(f"NixOS machines of {installation.cluster.name}"),
        nixpkgs=_NIXPKGS,
        colmena=_COLMENA,
        release=Channel.CURRENT.value,
        previous=FOLDERS[Channel.PREVIOUS].rpartition("/")[2],
        own_folder=OWN_FOLDER,
        own_file=OWN_FILE,
        machines=format_value({node.name: _describe_deployment(node) for node in nodes}, " " * 6),
        reserved=" ".join(quote_text(name) for name in RESERVED_NAMES),
    )
    return {FLAKE: write_header(installation, *_list_notes(nodes)) + text}


def list_flake_notes(installation: Installation) -> list[str]:
    """Explain why there is no flake although nodes run NixOS."""
    if not any(runs_nixos(node) and node.name == _NAME for node in installation.cluster.nodes):
        return []
    return [f"No flake is written: the module of the node {_NAME} has its name. Rename the node to get one."]


def _describe_deployment(node: Node) -> Mapping[str, Value]:
    """Describe how a node is reached; one without an address is the machine that the flake is used on."""
    reached: dict[str, Value] = {"targetHost": node.address, "targetUser": None}
    if node.address is None:
        reached = {"targetHost": None, "allowLocalDeployment": True}
    return reached | ({"tags": list(node.roles)} if node.roles else {})


def _list_notes(nodes: list[Node]) -> list[str]:
    notes = [
        f"Each machine's own configuration (disks, users, network) is {OWN_FOLDER}/NAME/{OWN_FILE}, which is yours.",
        "On a machine itself: sudo nixos-rebuild switch --flake .#NAME",
    ]
    if any(node.address is not None for node in nodes):
        notes.append(
            "From elsewhere, as the user of your ssh, who needs sudo without a password: colmena apply --on NAME"
        )
    reserved = [node.name for node in nodes if node.name in RESERVED_NAMES]
    if reserved:
        notes.append(f"Not in the hive, which has the name for itself: {', '.join(reserved)}.")
    return notes
