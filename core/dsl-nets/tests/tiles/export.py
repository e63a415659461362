"""Tiled encoding and decoding by diffusers 0.42.1 (torch 2.9.0), with the autoencoder in tests/fixtures/vae:
python export.py, in this folder."""
import torch
from diffusers import AutoencoderKL
from safetensors.torch import save_file

vae = AutoencoderKL.from_pretrained("../../../../tests/fixtures/vae/vae")
vae.enable_tiling()
generator = torch.Generator().manual_seed(5)
image = torch.rand(1, 3, 40, 72, generator=generator) * 2 - 1
latent = torch.randn(1, 4, 20, 36, generator=generator)
with torch.no_grad():
    moments = vae.encode(image).latent_dist
    tensors = {"in.image": image, "in.latent": latent, "out.mean": moments.mean, "out.logvar": moments.logvar,
               "out.decoded": vae.decode(latent).sample}
save_file({k: v.contiguous() for k, v in tensors.items()}, "io.safetensors")
