//! Discrepancy-aware score learning (DSL): a discriminator `eps_phi` that regresses the drawn noise and keeps a
//! margin to the generator (Eq. 2), and a generator `eps_G` that regresses the discriminator (Eq. 3):
//!
//! ```text
//! L_phi = E[ ||eps_phi - eps||^2 + lambda * max(0, m - ||eps_phi - sg(eps_G)||^2) ]      (2)
//! L_G   = E[ ||eps_G - sg(eps_phi)||^2 ]                                                 (3)
//! ```
//!
//! `sg` stops the gradient in both directions; the paper does not say so, but its Theorem 1 treats each network as
//! constant while the other moves. Where the paper is silent or contradicts itself, each setting below names the
//! reading taken. What the margin does in practice: `||eps_G - eps||^2` is dominated by noise that no network can
//! predict, so `m` stays far above `||eps_phi - eps_G||^2` and the hinge is active for nearly every sample.

mod config;
mod losses;

pub use config::{
    DiscriminatorBase, DiscriminatorConfig, DiscriminatorTrainable, DslConfig, GeneratorConfig,
    GeneratorHinge, HingeConfig, HingeGranularity, HingeGroup, MarginConfig, MarginSource,
    ShareBase, TimestepStrategy, UpdateConfig, UpdateOrder,
};
pub(crate) use losses::bin_of;
pub use losses::{DiscriminatorLoss, GeneratorLoss, Margins, discriminator_loss, generator_loss};
