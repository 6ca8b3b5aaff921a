{ pkgs, ... }: {
  services.k3s = {
    enable = true;
    containerdConfigTemplate = ''
      {{ template "base" . }}
      [plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.'nvidia-gpu']
        runtime_type = "io.containerd.runc.v2"
    '';
  };
}
