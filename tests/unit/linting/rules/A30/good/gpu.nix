{ ... }: {
  hardware.nvidia.open = true;
}
