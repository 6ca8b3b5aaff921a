{ pkgs, ... }: {
  systemd.services.limits.script = ''
    nvidia-smi -pm 1
    nvidia-smi -i GPU-1 -pl 250
  '';
}
