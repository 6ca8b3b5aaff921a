{ pkgs, ... }: {
  services.k3s.enable = true;
  services.k3s.role = "agent";
  services.k3s.serverAddr = "https://10.0.0.1:6443";
  services.k3s.tokenFile = "/run/secrets/k3s";
  services.k3s.extraFlags = [
    # was --node-taint=nvidia.com/gpu=true:NoSchedule (finds: F05)
    "--node-taint=example.org/gpu=true:NoSchedule"
    # "--node-taint=example.org/night=true:NoExecute" (finds: F05)
  ];
}
