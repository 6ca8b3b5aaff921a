{ ... }: {
  hardware.nvidia.branch = "beta"; # finds: F17
}
