kubectl label node compute example.org/vram=28 --overwrite  # finds: F03
