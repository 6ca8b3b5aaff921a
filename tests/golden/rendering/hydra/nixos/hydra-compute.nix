# Written by `corral render` from cluster.yaml (sha256:b31d31f3000b3af1).
# Change the cluster file and render again; changes made here are overwritten.
# For NixOS 25.11 and newer; for 25.05 there is previous-channel/hydra-compute.nix.
# K3s does not remove labels itself; once: kubectl label node hydra-compute hydra.io/gpu-classes- hydra.io/has-3060-
{ config, lib, pkgs, ... }:

{
  # The token is in /etc/rancher/k3s/token (root, mode 0400; sops-nix or agenix write it there) and never in the Nix
  # store, which everybody can read (pitfall F06).
  services.k3s = {
    enable = true;
    role = "agent";
    tokenFile = "/etc/rancher/k3s/token";
    serverAddr = "https://192.168.1.250:6443";
    nodeName = "hydra-compute";
    nodeLabel = [
      "hydra.io/gpu-class=5070ti"
      "hydra.io/gpu-count=2"
      "hydra.io/has-5070ti=true"
      "hydra.io/homogeneous=true"
      "hydra.io/vram-total=32"
      "hydra.io/workload=training"
      "nvidia.com/gpu.present=true"
      "workload.hydra.io/generation=true"
      "workload.hydra.io/training=true"
    ];
    extraFlags = [ "--kubelet-arg=max-pods=110" ];
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
      pkgs.nfs-utils
    ];
    after = [ "nvidia-container-toolkit-cdi-generator.service" ];
    wants = [ "nvidia-container-toolkit-cdi-generator.service" ];
  };

  # NVIDIA's driver is not free software: only it is allowed. A predicate elsewhere replaces this one.
  nixpkgs.config.allowUnfreePredicate = pkg: lib.hasPrefix "nvidia-" (lib.getName pkg);

  # RTX 5070 Ti. `videoDrivers` is what turns the driver on; it starts no display.
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

  # Each load of the driver resets the limits: set after the daemon that keeps it loaded, and again with it (pitfall
  # C01). A limit caps; it is not an undervolt (pitfall C03).
  systemd.services.gpu-power-limit = {
    description = "Power limits of GPUs, from the cluster file";
    after = [ "nvidia-persistenced.service" ];
    wants = [ "nvidia-persistenced.service" ];
    partOf = [ "nvidia-persistenced.service" ];
    before = [ "k3s.service" ];
    wantedBy = [ "multi-user.target" "nvidia-persistenced.service" ];
    path = [ (lib.getBin config.hardware.nvidia.package) ];
    serviceConfig = {
      Type = "oneshot";
      RemainAfterExit = true;
    };
    script = ''
      failed=0
      nvidia-smi -i 0 -pl 250 || failed=1
      nvidia-smi -i 1 -pl 250 || failed=1
      exit "$failed"
    '';
  };

  # Pods mount NFS through the node's own programs.
  boot.supportedFilesystems = [ "nfs" ];

  # 7433 corral-outside; 8188 comfyui-lb; 9100 node exporter; 10250 kubelet; 8472 flannel (VXLAN).
  networking.firewall.allowedTCPPorts = [ 7433 8188 9100 10250 ];
  networking.firewall.allowedUDPPorts = [ 8472 ];
}
