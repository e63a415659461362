//! The parameters of any module by name, as weight files, optimisers and reports need them.

use burn::module::{Module, ModuleMapper, ModuleVisitor, Param, ParamId};
use burn::tensor::Tensor;

/// One parameter of a module.
#[derive(Debug, Clone)]
pub struct NamedParameter {
    /// Path with dots, equal to the key in a weight file except for adapters (`….lora.lora_a`).
    pub path: String,
    /// The id that optimiser state is kept under.
    pub id: ParamId,
    /// Shape in memory.
    pub shape: Vec<usize>,
    /// Whether it trains; always false on a device without autodiff.
    pub require_grad: bool,
    /// Whether weight files hold the transpose (weights of linear layers).
    pub is_transposed: bool,
    /// Whether weight files hold a number without axes, where memory has `[1]`.
    pub is_scalar: bool,
    /// Values, last axis fastest.
    pub values: Vec<f32>,
}

impl NamedParameter {
    /// Shape in a weight file.
    pub fn file_shape(&self) -> Vec<usize> {
        if self.is_scalar {
            Vec::new()
        } else if self.is_transposed {
            self.shape.iter().rev().copied().collect()
        } else {
            self.shape.clone()
        }
    }

    /// Whether the parameter belongs to a low-rank adapter.
    pub fn is_adapter(&self) -> bool {
        is_adapter(&self.path)
    }
}

/// Every float parameter with its values, in the order of the module's fields. Copies all values to the host.
pub fn named_parameters<M: Module>(module: &M) -> Vec<NamedParameter> {
    collect(module, true)
}

/// As [`named_parameters`], with `values` left empty: nothing is copied.
pub fn parameter_infos<M: Module>(module: &M) -> Vec<NamedParameter> {
    collect(module, false)
}

/// Gives every parameter that still waits for it its fresh value, see
/// [`ParameterInit::deferred`](crate::ParameterInit::deferred).
pub fn read_all<M: Module>(module: &M) {
    struct Read;
    impl ModuleVisitor for Read {
        fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
            param.val();
        }
    }
    module.visit(&mut Read);
}

/// Number of elements over all parameters that train; 0 on a device without autodiff.
pub fn count_trainable<M: Module>(module: &M) -> usize {
    let count = |p: NamedParameter| {
        if p.require_grad {
            p.shape.iter().product()
        } else {
            0
        }
    };
    parameter_infos(module).into_iter().map(count).sum()
}

/// Number of elements over all parameters of adapters.
pub fn count_adapter<M: Module>(module: &M) -> usize {
    let count = |p: NamedParameter| {
        if p.is_adapter() {
            p.shape.iter().product()
        } else {
            0
        }
    };
    parameter_infos(module).into_iter().map(count).sum()
}

/// A parameter's name and what it is, for choosing those that train.
#[derive(Debug, Clone, Copy)]
pub struct ParameterName<'a> {
    /// Path with dots, as in [`NamedParameter`].
    pub path: &'a str,
    /// Whether it belongs to a group or layer norm.
    pub is_norm: bool,
}

impl ParameterName<'_> {
    /// Whether it is added to a layer's output.
    pub fn is_bias(&self) -> bool {
        self.path == "bias" || self.path.ends_with(".bias")
    }
}

/// `module` with the parameters that `trains` chooses, and no others, in training.
pub fn train_only<M: Module>(module: M, trains: impl FnMut(ParameterName<'_>) -> bool) -> M {
    struct Choose<F> {
        trains: F,
        path: ParameterPath,
    }
    impl<F: FnMut(ParameterName<'_>) -> bool> ModuleMapper for Choose<F> {
        fn enter_module(&mut self, name: &str, container_type: &str) {
            self.path.enter(name, container_type);
        }

        fn exit_module(&mut self, _name: &str, container_type: &str) {
            self.path.exit(container_type);
        }

        fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
            let trains = (self.trains)(ParameterName {
                path: &self.path.joined(),
                is_norm: self.path.is_norm(),
            });
            param.set_require_grad(trains)
        }
    }
    module.map(&mut Choose {
        trains,
        path: ParameterPath::default(),
    })
}

fn collect<M: Module>(module: &M, with_values: bool) -> Vec<NamedParameter> {
    let mut collector = Collector {
        with_values,
        path: ParameterPath::default(),
        found: Vec::new(),
    };
    module.visit(&mut collector);
    collector.found
}

struct Collector {
    with_values: bool,
    path: ParameterPath,
    found: Vec<NamedParameter>,
}

impl ModuleVisitor for Collector {
    fn enter_module(&mut self, name: &str, container_type: &str) {
        self.path.enter(name, container_type);
    }

    fn exit_module(&mut self, _name: &str, container_type: &str) {
        self.path.exit(container_type);
    }

    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        let values = if self.with_values {
            param.val().inner().into_data().iter::<f32>().collect()
        } else {
            Vec::new()
        };
        self.found.push(NamedParameter {
            path: self.path.joined(),
            id: param.id,
            shape: param.lazy_shape().to_vec(),
            // One that has not been read trains if it can: reading it to find out would fill it.
            require_grad: if param.is_initialized() {
                param.is_require_grad()
            } else {
                param.lazy_device().is_autodiff()
            },
            is_transposed: self.path.is_transposed(),
            is_scalar: self.path.is_scalar(),
            values,
        });
    }
}

/// How burn's visitors call [`crate::layers::Scalar`].
const SCALAR: &str = "Struct:Scalar";

/// The path of a parameter while a module is walked. Variants of enums are left out: files do not know them.
#[derive(Debug, Default)]
pub(crate) struct ParameterPath {
    names: Vec<String>,
    containers: Vec<String>,
}

impl ParameterPath {
    pub(crate) fn enter(&mut self, name: &str, container_type: &str) {
        if !container_type.starts_with("Enum:") {
            self.names.push(name.to_owned());
            self.containers.push(container_type.to_owned());
        }
    }

    pub(crate) fn exit(&mut self, container_type: &str) {
        if !container_type.starts_with("Enum:") {
            self.names.pop();
            self.containers.pop();
        }
    }

    pub(crate) fn joined(&self) -> String {
        let mut joined = String::new();
        for (name, container) in self.names.iter().zip(&self.containers) {
            // A `Scalar` is known by its own name: files have no `.value` behind it.
            if container != SCALAR {
                if !joined.is_empty() {
                    joined.push('.');
                }
                joined.push_str(name);
            }
        }
        joined
    }

    /// Whether the parameter is a single number, which files hold without axes.
    pub(crate) fn is_scalar(&self) -> bool {
        self.containers.last().is_some_and(|last| last == SCALAR)
    }

    /// Whether the parameter is the weight of a linear layer.
    pub(crate) fn is_transposed(&self) -> bool {
        self.names.last().is_some_and(|name| name == "weight")
            && self
                .containers
                .last()
                .is_some_and(|container| container == "Struct:Linear")
    }

    pub(crate) fn is_adapter(&self) -> bool {
        is_adapter(&self.joined())
    }

    fn is_norm(&self) -> bool {
        self.containers.last().is_some_and(|container| {
            matches!(&**container, "Struct:GroupNorm" | "Struct:LayerNorm")
        })
    }
}

fn is_adapter(path: &str) -> bool {
    path.ends_with("lora.lora_a") || path.ends_with("lora.lora_b")
}
