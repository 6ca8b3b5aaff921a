{ pkgs, ... }: {
  services.k3s.enable = true;
  services.k3s.role = "agent";
  services.k3s.serverAddr = "https://10.0.0.1:6443";
  services.k3s.tokenFile = "/run/secrets/k3s";
  services.k3s.extraFlags = [
    # once: kubectl taint node oak nvidia.com/gpu- (the flag --node-taint=nvidia.com/gpu=true:NoSchedule was removed)
    # a --node-taint=nvidia.com/gpu=true:NoSchedule keeps others away
    "--node-taint=example.org/gpu=true:NoSchedule"
  ];
}
