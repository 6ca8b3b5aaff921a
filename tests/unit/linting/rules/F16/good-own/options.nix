{ lib, ... }: {
  options.services.k3s.disableFlags = lib.mkOption { default = [ ]; };
}
