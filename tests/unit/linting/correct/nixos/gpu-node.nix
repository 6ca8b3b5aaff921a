{ config, lib, pkgs, ... }:
let
  cfg = config.homelab.gpu;
  masterIP = "10.20.0.10";
in
{
  options.homelab.gpu.watts = lib.mkOption { type = lib.types.int; default = 250; };

  config = lib.mkIf config.services.k3s.enable {
    services.xserver.videoDrivers = [ "nvidia" ];
    nixpkgs.config.allowUnfree = true;
    hardware.graphics.enable = true;
    hardware.nvidia = {
      open = true;
      modesetting.enable = true;
      nvidiaPersistenced = true;
      package = config.boot.kernelPackages.nvidiaPackages.production;
    };
    hardware.nvidia-container-toolkit = { enable = true; device-name-strategy = "uuid"; };

    services.k3s = {
      role = "agent";
      serverAddr = "https://${masterIP}:6443";
      tokenFile = config.sops.secrets."k3s/token".path;
      extraFlags = lib.concatStringsSep " " ([
        "--node-label=homelab.example.org/gpu=true"
        "--node-label=node.kubernetes.io/gpu-class=large"
      ] ++ lib.optional cfg.watts "--node-label=homelab.example.org/quiet=true");
    };
    systemd.services.k3s.path = [ config.hardware.nvidia-container-toolkit.package.tools pkgs.ipset ];

    systemd.services.gpu-power-limit = {
      description = "Power limits of the cards";
      wantedBy = [ "multi-user.target" ];
      after = [ "nvidia-persistenced.service" ];
      requires = [ "nvidia-persistenced.service" ];
      serviceConfig = {
        Type = "oneshot";
        RemainAfterExit = true;
        ExecStart = "${lib.getExe' config.hardware.nvidia.package.bin "nvidia-smi"} -i 0 -pl 300";
      };
    };

    networking.firewall = { allowedTCPPorts = [ 10250 ]; allowedUDPPorts = [ 8472 ]; trustedInterfaces = [ "cni0" "flannel.1" ]; };
    sops.secrets."k3s/token" = { sopsFile = ./secrets.yaml; mode = "0400"; };
  };
}
