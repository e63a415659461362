//! The mean square of the predicted noise, or of drawn samples.

use dsl_sdk::{
    Artefacts, Batch, Direction, Evaluator, Host, MetricValue, PluginError, Requirements,
};

use crate::{
    fault::{Fault, hang},
    services,
};

pub(crate) struct MeanSquare {
    fault: Fault,
    host: Host,
    sum: f64,
    count: f64,
}

impl MeanSquare {
    pub(crate) fn new(fault: Fault, host: Host) -> Self {
        Self {
            fault,
            host,
            sum: 0.0,
            count: 0.0,
        }
    }

    const fn measures_samples(&self) -> bool {
        matches!(
            self.fault,
            Fault::MeasuresSamples | Fault::PanicWithoutTruth
        )
    }
}

impl Evaluator for MeanSquare {
    fn requirements(&self) -> Requirements {
        self.fault
            .panic_if(Fault::PanicInRequirements, "in the requirements");
        let split = match self.fault {
            Fault::EvaluatorSplit => "nowhere",
            _ => "test",
        };
        let (split, count) = (split.into(), 64);
        match self.measures_samples() {
            true => Requirements::Samples { split, count },
            false => Requirements::NoisePredictions { split, count },
        }
    }

    fn update(&mut self, inputs: &Batch, _: u64) -> Result<(), PluginError> {
        self.fault.panic_if(Fault::PanicInUpdate, "when fed");
        let (first, measured) = match self.measures_samples() {
            true => ("generated", "generated"),
            false => ("x_t", "eps_pred/generator"),
        };
        let column = inputs.f32(first);
        if self.fault == Fault::PanicWithoutTruth {
            assert!(inputs.f32("point").is_ok(), "told to panic without truth");
            inputs.texts("name")?;
        }
        if self.fault == Fault::PanicOnMissingColumn {
            assert!(column.is_ok(), "told to panic without a column");
        }
        column?;
        if self.fault == Fault::NeedsDiscriminator {
            inputs.f32("eps_pred/discriminator")?;
        }
        let (_, values) = inputs.f32(measured)?;
        let sum: f64 = values.iter().map(|&value| f64::from(value).powi(2)).sum();
        if self.fault == Fault::WeightsBatches {
            self.sum += sum / values.len() as f64;
            self.count += 1.0;
        } else {
            self.sum += sum;
            self.count += values.len() as f64;
        }
        Ok(())
    }

    fn finish(&mut self, artefacts: &mut Artefacts) -> Result<Vec<MetricValue>, PluginError> {
        self.fault
            .panic_if(Fault::PanicInFinish, "at the end of an evaluation");
        match self.fault {
            Fault::HangInFinish => hang(),
            Fault::AbortInFinish => std::process::abort(),
            Fault::PanicWithoutSamples => assert!(self.count > 0.0, "told to panic"),
            _ => {}
        }
        if self.count == 0.0 {
            return Ok(vec![]);
        }
        let value = match self.fault {
            Fault::NanMetric => f64::NAN,
            _ => self.sum / self.count,
        };
        if self.fault != Fault::EvaluatorRemembers {
            (self.sum, self.count) = (0.0, 0.0);
        } else {
            self.sum += 1.0;
        }
        let metric = MetricValue {
            name: "mean_square".into(),
            value,
            direction: Direction::LowerIsBetter,
            unit: String::new(),
        };
        let name = match self.fault {
            Fault::ArtefactWithFolder => "../mean-square.txt",
            _ => "mean-square.txt",
        };
        artefacts.add(name, "text/plain", format!("{value}\n"));
        if self.fault == Fault::ArtefactOfOtherKind {
            artefacts.add("picture.png", "image/png", "no picture");
        }
        if self.fault == Fault::MeasuresFeatures {
            return services::measure(&self.host);
        }
        let times = if self.fault == Fault::SameMetricTwice {
            2
        } else {
            1
        };
        Ok(vec![metric; times])
    }
}
