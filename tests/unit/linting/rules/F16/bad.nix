{ config, lib, ... }: {
  services.ollama = {
    enable = true;
    modelsDir = "/srv/models"; # finds: F16
  };
  services.k3s.extraFlag = [ "--disable=traefik" ]; # finds: F16
  hardware.nvidia.modesettings.enable = true; # finds: F16
}
