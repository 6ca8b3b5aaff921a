{ pkgs, ... }: {
  systemd.services.limits.wantedBy = [ "multi-user.target" ];
  systemd.services.limits.script = "nvidia-smi -i GPU-1 -pl 250"; # finds: C06
  systemd.services.other.after = [ "nvidia-persistenced.service" ];
}
