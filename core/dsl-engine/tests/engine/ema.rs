//! The moving average of the generator's weights.

use crate::support::{Points, dsl, dsm, train, trainer, weights};

/// `average = decay * average + (1 - decay) * weights`; `decay` is 0 at the first step and `(1 + s) / (10 + s)` after
/// `s` more, up to the configured one.
#[test]
fn the_average_follows_its_formula() {
    let set = Points::new(16);
    for mut config in [dsm(), dsl(|_| ())] {
        config.train.ema.decay = Some(0.3);
        let mut trainer = trainer(config);
        let mut average = weights(trainer.generator());
        for s in 0..8 {
            train(&mut trainer, &set, 1);
            let decay = if s == 0 {
                0.0
            } else {
                f64::min(0.3, (1.0 + f64::from(s)) / (10.0 + f64::from(s)))
            };
            let now = weights(trainer.generator());
            for ((_, average), (_, now)) in average.iter_mut().zip(&now) {
                for (average, now) in average.iter_mut().zip(now) {
                    *average =
                        (decay * f64::from(*average) + (1.0 - decay) * f64::from(*now)) as f32;
                }
            }
            let found = weights(&trainer.sampling_model());
            assert!(
                crate::support::largest_difference(&found, &average) < 1e-6,
                "after step {}",
                s + 1
            );
            assert_eq!(found == now, s == 0, "after step {}", s + 1);
        }
    }
}

#[test]
fn without_an_average_the_trained_weights_are_used() {
    let set = Points::new(16);
    let mut trainer = trainer(dsm());
    train(&mut trainer, &set, 2);
    assert_eq!(
        weights(&trainer.sampling_model()),
        weights(trainer.generator())
    );
}
