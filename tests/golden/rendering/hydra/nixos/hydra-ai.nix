# Written by `corral render` from cluster.yaml (sha256:3d904c922cd33848).
# Change the cluster file and render again; changes made here are overwritten.
# For NixOS 25.11 and newer; for 25.05 there is previous-channel/hydra-ai.nix.
# The file does not give hydra-ai a role in K3s (`k3sRole`): no K3s here.
{ config, lib, pkgs, ... }:

{
  # NVIDIA's driver is not free software: only it is allowed. A predicate elsewhere replaces this one.
  nixpkgs.config.allowUnfreePredicate = pkg: lib.hasPrefix "nvidia-" (lib.getName pkg);

  # RTX 5090, RTX 4090. `videoDrivers` is what turns the driver on; it starts no display.
  services.xserver.videoDrivers = [ "nvidia" ];
  hardware.graphics.enable = true;
  boot.kernelModules = [ "nvidia" "nvidia_uvm" ];
  hardware.nvidia = {
    open = true;
    nvidiaPersistenced = true;
    nvidiaSettings = false;
  };

  assertions = [
    {
      assertion = lib.versionAtLeast config.hardware.nvidia.package.version "570";
      message = "Blackwell GPUs need driver 570 or newer; set hardware.nvidia.package.";
    }
  ];

  # Names by UUID: the device plugin asks for GPUs by UUID, and would not find `index`, the default (pitfall F10).
  hardware.nvidia-container-toolkit = {
    enable = true;
    device-name-strategy = "uuid";
  };
}
