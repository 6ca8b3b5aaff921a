{ ... }: {
  hardware.nvidia.open = true; # finds: A30
}
