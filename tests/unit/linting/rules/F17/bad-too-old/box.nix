{ config, ... }: {
  hardware.nvidia.package = config.boot.kernelPackages.nvidiaPackages.legacy_535; # finds: F17
}
