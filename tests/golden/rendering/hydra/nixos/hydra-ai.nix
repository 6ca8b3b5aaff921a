# Written by `corral render` from cluster.yaml (sha256:b31d31f3000b3af1).
# Change the cluster file and render again; changes made here are overwritten.
# For NixOS 25.11 and newer; for 25.05 there is previous-channel/hydra-ai.nix.
{ config, lib, pkgs, ... }:

{
  # The token is in /etc/rancher/k3s/token (root, mode 0400; sops-nix or agenix write it there) and never in the Nix
  # store, which everybody can read (pitfall F06).
  services.k3s = {
    enable = true;
    role = "server";
    tokenFile = "/etc/rancher/k3s/token";
    nodeName = "hydra-ai";
    nodeLabel = [
      "hydra.io/gpu-classes=5090-4090"
      "hydra.io/gpu-count=2"
      "hydra.io/has-4090=true"
      "hydra.io/has-5090=true"
      "hydra.io/homogeneous=false"
      "hydra.io/vram-total=56"
      "nvidia.com/gpu.present=true"
      "workload.hydra.io/inference=true"
    ];
    extraFlags = [ "--kubelet-arg=max-pods=110" "--tls-san=192.168.1.250" ];
  };

  # K3s looks for `nvidia-container-runtime` on the path of its service and makes the runtime `nvidia` of it, in the
  # format of its own containerd (pitfalls F07, F08). It finds the toolkit's CDI runtime here: the other one needs
  # files at places that NixOS does not have. runc is what that runtime calls.
  systemd.services.k3s = {
    path = [
      (pkgs.writeShellScriptBin "nvidia-container-runtime" ''
        exec ${pkgs.nvidia-container-toolkit.tools}/bin/nvidia-container-runtime.cdi "$@"
      '')
      pkgs.runc
    ];
    after = [ "nvidia-container-toolkit-cdi-generator.service" ];
    wants = [ "nvidia-container-toolkit-cdi-generator.service" ];
  };

  # NVIDIA's driver is not free software: only it is allowed. A predicate elsewhere replaces this one.
  nixpkgs.config.allowUnfreePredicate = pkg: lib.hasPrefix "nvidia-" (lib.getName pkg);

  # RTX 5090, RTX 4090. `videoDrivers` is what turns the driver on; it starts no display.
  services.xserver.videoDrivers = [ "nvidia" ];
  hardware.graphics.enable = true;
  boot.kernelModules = [ "nvidia" "nvidia_uvm" ];
  hardware.nvidia = {
    open = true;
    nvidiaPersistenced = true;
    nvidiaSettings = false;
  };

  assertions = [
    {
      assertion = lib.versionAtLeast config.hardware.nvidia.package.version "570";
      message = "Blackwell GPUs need driver 570 or newer; set hardware.nvidia.package.";
    }
  ];

  # Names by UUID: the device plugin asks for GPUs by UUID, and would not find `index`, the default (pitfall F10).
  hardware.nvidia-container-toolkit = {
    enable = true;
    device-name-strategy = "uuid";
  };

  # 6443 API server; 7433 corral-outside; 8188 comfyui-lb; 9100 node exporter; 10250 kubelet; 8472 flannel (VXLAN).
  networking.firewall.allowedTCPPorts = [ 6443 7433 8188 9100 10250 ];
  networking.firewall.allowedUDPPorts = [ 8472 ];
}
