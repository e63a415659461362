//! What a step tells about itself.

/// Numbers of one step, in the order they are logged; names as in `metrics.jsonl`.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct StepReport {
    /// Step, counted from 1.
    pub step: u64,
    /// Name and value.
    pub values: Vec<(String, f64)>,
    /// Samples that the step has seen.
    pub images: usize,
    /// Network evaluations that the step took.
    pub forwards: ForwardCounts,
}

impl StepReport {
    /// Adds a value, or replaces it.
    pub fn set(&mut self, name: &str, value: f64) {
        match self.values.iter_mut().find(|(known, _)| known == name) {
            Some((_, old)) => *old = value,
            None => self.values.push((name.to_owned(), value)),
        }
    }

    /// The value called `name`.
    pub fn get(&self, name: &str) -> Option<f64> {
        self.values
            .iter()
            .find(|(known, _)| known == name)
            .map(|(_, value)| *value)
    }
}

/// Network evaluations of one step, per micro-batch row block.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ForwardCounts {
    /// Generator.
    pub generator: u32,
    /// Discriminator.
    pub discriminator: u32,
}
