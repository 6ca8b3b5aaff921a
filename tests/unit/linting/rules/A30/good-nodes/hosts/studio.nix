{ ... }: {
  hardware.nvidia.open = false;
}
