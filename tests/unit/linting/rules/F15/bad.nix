{ pkgs, ... }: {
  hardware.opengl = {
    enable = true; # finds: F15
    driSupport = true; # finds: F15
  };
  services.ollama = {
    enable = true;
    listenAddress = "0.0.0.0:11434"; # finds: F15
  };
  virtualisation.docker.enableNvidia = true; # finds: F15
}
