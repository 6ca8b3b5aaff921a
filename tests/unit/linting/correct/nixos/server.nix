{ config, lib, pkgs, ... }:
{
  services.k3s = {
    enable = true;
    role = "server";
    tokenFile = config.sops.secrets."k3s/token".path;
    extraFlags = [
      "--write-kubeconfig-mode=0640"
      "--disable=traefik"
      "--node-label=workload.example.org/generation=true"
      "--node-label=workload.example.org/training=true"
      "--token-file=/run/secrets/k3s"
    ];
  };
  systemd.services.k3s.path = [ pkgs.nvidia-container-toolkit.tools ];
  hardware.graphics.enable = true;
  hardware.nvidia = {
    open = true;
    nvidiaPersistenced = true;
    package = config.boot.kernelPackages.nvidiaPackages.stable;
  };
  hardware.nvidia-container-toolkit = {
    enable = true;
    device-name-strategy = "uuid";
  };
  services.xserver.videoDrivers = [ "nvidia" ];
  nixpkgs.config.allowUnfree = true;
  systemd.services.nvidia-power-limit = {
    description = "Power limits of the cards";
    wantedBy = [ "multi-user.target" ];
    after = [ "nvidia-persistenced.service" ];
    serviceConfig = {
      Type = "oneshot";
      RemainAfterExit = true;
      ExecStart = "${config.hardware.nvidia.package.bin}/bin/nvidia-smi -i GPU-1b2c -pl 250";
    };
  };
  networking.firewall.allowedTCPPorts = [ 6443 10250 ];
  fileSystems."/srv/models" = {
    device = "nas.example.org:/models";
    fsType = "nfs";
    options = [ "nfsvers=4.2" "hard" "nconnect=4" ];
  };
}
