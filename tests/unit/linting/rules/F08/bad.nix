{ ... }: {
  services.k3s.containerdConfigTemplate = ''
    version = 2 # finds: F08
  '';
}
