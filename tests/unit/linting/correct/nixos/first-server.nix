# Der erste Server; größere Änderungen erst hier prüfen.
{ config, ... }:
{
  networking.hostName = "ahorn";
  services.k3s = {
    enable = true;
    role = "server";
    clusterInit = true;
    tokenFile = "/run/agenix/k3s-token";
    extraFlags = toString [ "--disable=traefik" "--disable=servicelb" "--write-kubeconfig-mode=0640" "--tls-san=${config.networking.fqdn}" ];
    gracefulNodeShutdown.enable = true;
  };
  fileSystems."/srv/models" = { device = "nas:/export/models"; fsType = "nfs"; options = [ "nfsvers=4.2" "noatime" "nconnect=8" ]; };
  services.openiscsi = { enable = true; name = "iqn.2025-01.org.example:${config.networking.hostName}"; };
  age.secrets.k3s-token.file = ../secrets/k3s-token.age;
  system.stateVersion = "25.05";
}
