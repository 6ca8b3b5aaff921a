{ pkgs, ... }: {
  hardware.nvidia-container-toolkit.enable = true;
  services.k3s.enable = true;
  systemd.services.k3s.path = [ pkgs.nvidia-container-toolkit.tools ];
}
