{ config, ... }: {
  hardware.graphics.enable = true;
  services.xserver.videoDrivers = [ "nvidia" ];
  hardware.nvidia = {
    open = true;  # finds: A30
    package = config.boot.kernelPackages.nvidiaPackages.beta;  # finds: F17
  };
}
