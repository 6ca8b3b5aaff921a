{ ... }: {
  hardware.nvidia.open = false; # finds: A30
}
