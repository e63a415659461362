//! Denoising networks equal to their references, LoRA, text encoder, weight files.
