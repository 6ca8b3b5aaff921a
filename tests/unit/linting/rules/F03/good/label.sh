kubectl label node compute example.org/vram=32 --overwrite
