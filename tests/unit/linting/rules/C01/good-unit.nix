{ pkgs, ... }: {
  systemd.services.gpu-power-limit = {
    after = [ "nvidia-persistenced.service" ];
    wantedBy = [ "multi-user.target" ];
    script = "nvidia-smi -i GPU-1 -pl 250";
  };
}
