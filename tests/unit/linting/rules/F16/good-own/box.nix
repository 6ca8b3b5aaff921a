{ ... }: {
  services.k3s.disableFlags = [ "traefik" ];
}
