//! Noise schedules, objectives, samplers and the two-network trainer.
