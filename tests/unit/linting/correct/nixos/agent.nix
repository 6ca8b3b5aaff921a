# --node-label=example.org/old=true was removed from the node with `kubectl label node`: nothing is left of it.
{ pkgs, ... }:
let
  toolkit = pkgs.nvidia-container-toolkit.tools;
in
{
  services.k3s = {
    enable = true;
    role = "agent";
    serverAddr = "https://server.example.org:6443";
    tokenFile = "/run/secrets/k3s-token";
    nodeLabel = [ "example.org/card=large" "topology.kubernetes.io/zone=cellar" ];
  };
  hardware.nvidia-container-toolkit.enable = true;
  systemd.services.k3s.path = [ toolkit ];
}
