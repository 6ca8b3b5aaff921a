{ config, ... }: {
  services.xserver.videoDrivers = [ "nvidia" ]; # finds: F17
}
