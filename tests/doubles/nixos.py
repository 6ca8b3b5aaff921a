"""Evaluates NixOS modules without nixpkgs: real Nix, and stand-ins for the few things of nixpkgs that modules use.

The stand-ins are as nixpkgs has them (`lib/strings.nix`, `pkgs/build-support/trivial-builders`, the NVIDIA modules of
NixOS 25.05 and 25.11), except that packages are paths without a build. Options are not checked by Nix then; the names
that the two channels have are listed here, read from their modules, and `unknown_options` tells what is not among them.
"""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, cast

_STAND_INS = r"""
let
  lib = rec {
    hasPrefix = prefix: text: builtins.substring 0 (builtins.stringLength prefix) text == prefix;
    getName = package: package.pname;
    getBin = package: package.bin or package.outPath;
    versionAtLeast = a: b: builtins.compareVersions a b != -1;
  };
  pkgs = {
    writeShellScriptBin = name: text: { script = name; inherit text; };
    nvidia-container-toolkit = { tools = "/nix/store/toolkit-tools"; };
    runc = "/nix/store/runc";
    nfs-utils = "/nix/store/nfs-utils";
  };
  driver = version: { inherit version; bin = "/nix/store/nvidia-${version}-bin"; };
  config = version: {
    hardware.nvidia.package = driver version;
    boot.kernelPackages.nvidiaPackages = { stable = "stable"; legacy_470 = "legacy_470"; }
      // (if version == "570.1" then { } else { legacy_580 = "legacy_580"; });
  };
  names = [ "nvidia-x11" "nvidia-persistenced" "nvidia-kernel-modules" "steam" "cuda_nvcc" ];
  plain = module: module // (if module ? nixpkgs then {
    nixpkgs.config.allowUnfreePredicate =
      builtins.filter (name: module.nixpkgs.config.allowUnfreePredicate { pname = name; }) names;
  } else { });
in
  builtins.mapAttrs (version: builtins.map (file: plain (import file { config = config version; inherit lib pkgs; })))
"""

_K3S = {"enable", "role", "serverAddr", "tokenFile", "clusterInit", "extraFlags"}
_UNIT = {
    "after", "before", "description", "partOf", "path", "script", "serviceConfig", "wantedBy", "wants",
}  # fmt: skip
_OPTIONS = {
    "hardware.enableRedistributableFirmware": None,
    "assertions": None,
    "boot.kernelModules": None,
    "boot.supportedFilesystems": None,
    "hardware.graphics": {"enable"},
    "hardware.nvidia": {"open", "package", "nvidiaPersistenced", "nvidiaSettings"},
    "hardware.nvidia-container-toolkit": {"enable", "device-name-strategy"},
    "networking.firewall": {"allowedTCPPorts", "allowedUDPPorts"},
    "nixpkgs.config": {"allowUnfreePredicate"},
    "services.nfs": {"server"},
    "services.xserver": {"videoDrivers"},
    "systemd.tmpfiles": {"rules"},
}
OPTIONS: Mapping[str, Mapping[str, set[str] | None]] = {
    "nixos": {**_OPTIONS, "services.k3s": _K3S | {"nodeName", "nodeLabel"}},
    "nixos/previous-channel": {**_OPTIONS, "services.k3s": _K3S},
}
"""By the folder of rendered modules: what may be bound below which path; None is a value of its own."""

CURRENT_DRIVER = "580.1"
OLD_DRIVER = "570.1"


def evaluate(files: Mapping[str, str], folder: Path, *, driver: str = CURRENT_DRIVER) -> dict[str, Any]:
    """Evaluate all modules among rendered files, strictly, in one run of Nix; by path."""
    paths = sorted(path for path in files if path.endswith(".nix"))
    for number, path in enumerate(paths):
        (folder / f"{number}.nix").write_text(files[path])
    listed = " ".join(str(folder / f"{number}.nix") for number in range(len(paths)))
    values = nix_value(f'({_STAND_INS}) {{ "{driver}" = [ {listed} ]; }}')
    return dict(zip(paths, values[driver], strict=True))


_FLAKE = r"""
{ folder, stub, release }:
let
  flake = import (folder + "/flake.nix");
  reserved = [ "defaults" "meta" "network" ];
  deployment = [ "targetHost" "targetUser" "allowLocalDeployment" "tags" ];
  known = names: set:
    if builtins.removeAttrs set names == { } then set else throw "unknown: ${toString (builtins.attrNames set)}";
  outputs = flake.outputs {
    self = outputs;
    nixpkgs = {
      outPath = stub;
      lib = {
        trivial = { inherit release; };
        versionAtLeast = a: b: builtins.compareVersions a b != -1;
        nixosSystem = args: { modules = builtins.map toString (known [ "modules" ] args).modules; };
      };
    };
    colmena.lib.makeHive = hive: {
      system = hive.meta.nixpkgs.system;
      nodes = builtins.mapAttrs (name: node: {
        modules = builtins.map toString node.imports;
        deployment = known deployment (known [ "imports" "deployment" ] node).deployment;
      }) (builtins.removeAttrs hive reserved);
    };
  };
in
  { inherit (flake) inputs description; inherit outputs; }
"""
"""The parts of nixpkgs and colmena that a flake calls, with the names of their arguments, read from colmena's
`src/nix/hive/eval.nix` and `options.nix` (2026-07) and its manual's flakes: modules are listed, not evaluated."""


def evaluate_flake(files: Mapping[str, str], folder: Path, *, release: str = "25.11") -> Any:
    """Evaluate the inputs and outputs of the flake in rendered files, with a machine's own file for each output.

    `folder` gets `nixos` with the files; a module is its path there.
    """
    for path, text in files.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text(text)
    stub = folder / "nixpkgs"
    stub.mkdir(exist_ok=True)
    (stub / "default.nix").write_text("{ system, overlays }: { inherit system; }")
    arguments = f'{{ folder = {folder / "nixos"}; stub = {stub}; release = "{release}"; }}'
    text = json.dumps(nix_value(f"({_FLAKE}) {arguments}")).replace(f"{folder / 'nixos'}/", "")
    return json.loads(text)


def nix_value(expression: str) -> Any:
    """What Nix makes of an expression. It touches no store, so that any user may run it."""
    return json.loads(_nix("--eval", "--strict", "--json", "-E", expression))


def parse(path: Path) -> None:
    """Parse a file; raises with Nix's words when it is none."""
    _nix("--parse", str(path))


def unknown_options(module: Mapping[str, Any], folder: str) -> Iterator[str]:
    """Yield what a module binds that its channel does not have."""
    known = OPTIONS[folder]
    for path, value in _second_level(module):
        if path == "systemd.services":
            for unit, settings in value.items():
                yield from (f"{path}.{unit}.{name}" for name in settings if name not in _UNIT)
        elif path not in known:
            yield path
        elif (names := known[path]) is not None:
            yield from (f"{path}.{name}" for name in value if name not in names)


def _second_level(module: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    for first, value in module.items():
        if isinstance(value, dict):
            inside = cast(dict[str, Any], value)  # JSON's keys are text
            yield from ((f"{first}.{second}", inner) for second, inner in inside.items())
        else:
            yield first, value


def _nix(*arguments: str) -> str:
    command = ["nix-instantiate", "--store", "dummy://", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stderr
    return done.stdout
