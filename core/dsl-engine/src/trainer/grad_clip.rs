//! The global norm of a gradient: over all parameters together, as `torch.nn.utils.clip_grad_norm_` takes it.
//! (burn's own clipping works parameter by parameter.)

use burn::module::{Module, ModuleVisitor, Param};
use burn::optim::GradientsParams;
use burn::tensor::Tensor;
use dsl_kernels as kernels;

/// Root of the sum of squares of all gradients of `module`, in float32; 0 where there are none.
pub fn global_norm<M: Module>(module: &M, gradients: &GradientsParams) -> f64 {
    struct SumOfSquares<'a> {
        gradients: &'a GradientsParams,
        sums: Vec<Tensor<1>>,
    }
    impl ModuleVisitor for SumOfSquares<'_> {
        fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
            if let Some(gradient) = self.gradients.get::<D>(param.id) {
                self.sums.push(kernels::sum_of_squares(gradient));
            }
        }
    }
    let mut visitor = SumOfSquares {
        gradients,
        sums: Vec::new(),
    };
    module.visit(&mut visitor);
    if visitor.sums.is_empty() {
        return 0.0;
    }
    // One read from the device, whatever the number of parameters.
    f64::from(Tensor::cat(visitor.sums, 0).sum().into_scalar::<f32>()).sqrt()
}

/// Multiplies all gradients of `module` by `factor`.
pub fn scale<M: Module>(module: &M, gradients: &mut GradientsParams, factor: f64) {
    struct Scale<'a> {
        gradients: &'a mut GradientsParams,
        factor: f64,
    }
    impl ModuleVisitor for Scale<'_> {
        fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
            if let Some(gradient) = self.gradients.remove::<D>(param.id) {
                self.gradients
                    .register(param.id, gradient.mul_scalar(self.factor));
            }
        }
    }
    module.visit(&mut Scale { gradients, factor });
}
