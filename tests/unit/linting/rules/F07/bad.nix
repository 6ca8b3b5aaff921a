{ ... }: {
  hardware.nvidia-container-toolkit.enable = true;
  services.k3s.enable = true; # finds: F07
}
