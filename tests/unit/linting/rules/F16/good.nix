{ config, lib, pkgs, ... }:
let
  services.ollama.colour = "blue";
in {
  services.ollama = {
    enable = true;
    package = pkgs.ollama.override { acceleration = "cuda"; };
    environmentVariables.OLLAMA_NUM_PARALLEL = "2";
  };
  services.k3s = lib.mkIf config.services.ollama.enable (let flags = [ ]; in {
    role = "agent";
    extraFlags = flags;
    manifests.page.content = { kind = "Namespace"; };
  });
  hardware.nvidia.prime = import ./prime.nix { kind = "offload"; };
}
