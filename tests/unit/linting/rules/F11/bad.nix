{ ... }: {
  services.k3s.role = "server";
  services.k3s.manifests.comfyui = { source = ./comfyui.yaml; }; # finds: F11
}
