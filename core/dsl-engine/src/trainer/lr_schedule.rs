//! Learning rate as a function of the step: no state, so nothing to save.

use super::config::{LrScheduleConfig, LrScheduleKind};

/// Factor on the peak learning rate at `step` (from 0) of `steps`, in 0..=1.
///
/// Rises linearly over the warm-up (the first step has `1 / warmup_steps`), then follows its kind.
pub fn lr_factor(config: &LrScheduleConfig, step: u64, steps: u64) -> f64 {
    if step < config.warmup_steps {
        return (step + 1) as f64 / config.warmup_steps as f64;
    }
    let decay_steps = steps.saturating_sub(config.warmup_steps).max(1);
    let progress = ((step - config.warmup_steps) as f64 / decay_steps as f64).min(1.0);
    match config.kind {
        LrScheduleKind::Constant => 1.0,
        LrScheduleKind::Cosine => 0.5 * (1.0 + (std::f64::consts::PI * progress).cos()),
        LrScheduleKind::Linear => 1.0 - progress,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(kind: LrScheduleKind, warmup_steps: u64, step: u64, expected: f64) {
        let found = lr_factor(&LrScheduleConfig { kind, warmup_steps }, step, 110);
        assert!(
            (found - expected).abs() < 1e-12,
            "{kind:?} at {step}: {found} != {expected}"
        );
    }

    #[test]
    fn schedules_meet_their_ends_and_middle() {
        for kind in [
            LrScheduleKind::Constant,
            LrScheduleKind::Cosine,
            LrScheduleKind::Linear,
        ] {
            check(kind, 10, 0, 0.1);
            check(kind, 10, 9, 1.0);
            check(kind, 10, 10, 1.0);
            check(kind, 0, 0, 1.0);
        }
        check(LrScheduleKind::Constant, 10, 109, 1.0);
        check(LrScheduleKind::Cosine, 10, 60, 0.5);
        check(LrScheduleKind::Linear, 10, 60, 0.5);
        check(LrScheduleKind::Linear, 10, 110, 0.0);
        check(LrScheduleKind::Cosine, 10, 500, 0.0);
    }
}
