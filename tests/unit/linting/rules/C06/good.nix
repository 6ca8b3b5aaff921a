{ pkgs, ... }: {
  systemd.services.limits.after = [ "nvidia-persistenced.service" ];
  systemd.services.limits.script = "nvidia-smi -i GPU-1 -pl 250";
}
