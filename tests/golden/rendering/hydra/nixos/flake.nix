# Written by `corral render` from cluster.yaml (sha256:b31d31f3000b3af1).
# Change the cluster file and render again; changes made here are overwritten.
# Each machine's own configuration (disks, users, network) is machines/NAME/configuration.nix, which is yours.
# On a machine itself: sudo nixos-rebuild switch --flake .#NAME
# From elsewhere, as the user of your ssh, who needs sudo without a password: colmena apply --on NAME
{
  description = "NixOS machines of hydra";

  inputs = {
    nixpkgs.url = "github:NixOS/nixpkgs/nixos-26.05";
    colmena = {
      url = "github:nix-community/colmena";
      inputs.nixpkgs.follows = "nixpkgs";
    };
  };

  outputs =
    { nixpkgs, colmena, ... }:
    let
      inherit (nixpkgs) lib;
      rendered = if lib.versionAtLeast lib.trivial.release "25.11" then ./. else ./previous-channel;
      findOwn =
        name:
        let
          file = ./machines + "/${name}/configuration.nix";
        in
        if builtins.pathExists file then
          file
        else
          throw (
            "machines/${name}/configuration.nix is missing: copy the machine's /etc/nixos to machines/${name}, "
            + "and `git add` it where this folder is in git"
          );
      listModules = name: [
        (rendered + "/${name}.nix")
        (findOwn name)
      ];
      # How colmena reaches each machine.
      machines = {
        hydra-ai = {
          targetHost = "192.168.1.250";
          targetUser = null;
          tags = [ "inference" ];
        };
        hydra-compute = {
          targetHost = null;
          allowLocalDeployment = true;
          tags = [ "generation" "training" ];
        };
      };
    in
    {
      nixosConfigurations = builtins.mapAttrs (
        name: _: lib.nixosSystem { modules = listModules name; }
      ) machines;

      colmenaHive = colmena.lib.makeHive (
        {
          # The library of colmena's own evaluation; a machine's system is `nixpkgs.hostPlatform` in its configuration.
          meta.nixpkgs = import nixpkgs {
            system = "x86_64-linux";
            overlays = [ ];
          };
        }
        // builtins.mapAttrs (name: deployment: {
          inherit deployment;
          imports = listModules name;
        }) (builtins.removeAttrs machines [ "defaults" "meta" "network" ])
      );
    };
}
