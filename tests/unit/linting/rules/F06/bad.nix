{ ... }: {
  services.k3s.enable = true;
  services.k3s.token = "K10abc"; # finds: F06
}
