{ ... }: {
  networking.hostName = "newcomer";
  hardware.nvidia.open = false; # finds: A30
}
