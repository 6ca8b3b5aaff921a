{ ... }: {
  services.k3s.enable = true;
  services.k3s.tokenFile = "/run/secrets/k3s";
}
