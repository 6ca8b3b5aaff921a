{ ... }: {
  networking.hostName = "newcomer";
  hardware.nvidia.open = true;
}
