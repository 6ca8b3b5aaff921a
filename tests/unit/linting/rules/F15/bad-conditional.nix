{ config, lib, ... }: {
  config = lib.mkIf config.my.gpu (lib.mkMerge [
    { hardware.opengl.extraPackages = [ ]; } # finds: F15
  ]);
}
