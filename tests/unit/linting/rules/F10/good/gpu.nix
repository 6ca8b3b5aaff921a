{ ... }: {
  hardware.nvidia-container-toolkit.enable = true;
  hardware.nvidia-container-toolkit.device-name-strategy = "uuid";
}
