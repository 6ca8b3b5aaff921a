{ pkgs, ... }: {
  hardware.graphics.enable = true;
  services.ollama = { enable = true; host = "0.0.0.0"; port = 11434; };
  hardware.nvidia-container-toolkit.enable = true;
}
