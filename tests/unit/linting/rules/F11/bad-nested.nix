{ ... }: {
  services.k3s.enable = true;
  services.k3s.role = "server";
  services.k3s.tokenFile = "/run/secrets/k3s";
  services.k3s.manifests = {
    monitoring = {  # finds: F11
      target = "monitoring.yaml";
      content = {
        apiVersion = "v1";
        kind = "Namespace";
        metadata.name = "monitoring";
      };
    };
  };
}
