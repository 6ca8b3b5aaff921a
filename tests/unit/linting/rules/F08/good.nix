{ ... }: {
  services.k3s.containerdConfigTemplate = ''
    {{ template "base" . }}
  '';
}
