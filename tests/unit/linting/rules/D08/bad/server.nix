{ ... }: {
  services.k3s.role = "server";
  services.k3s.enable = true; # finds: D08
}
