{ ... }: {
  hardware.nvidia-container-toolkit.enable = true; # finds: F10
}
