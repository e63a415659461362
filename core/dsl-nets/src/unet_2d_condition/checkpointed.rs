//! The UNet block by block, see [`crate::gradient_checkpointing`].

use burn::module::Module;
use burn::tensor::{Gradients, Tensor};
use dsl_kernels as kernels;

use super::{Begun, UNet2DCondition};
use crate::attention::AttentionContext;
use crate::conditioning::{CameraEstimate, Conditioning};
use crate::gradient_checkpointing::trains;

/// The inputs of all blocks, off the graph, and the two ends of the network on it.
pub(crate) struct UNetTape {
    network: UNet2DCondition,
    /// What the first block got, with the graph that made it.
    begun: Begun,
    /// What each block gets: down path, middle, up path.
    inputs: Vec<Tensor<4>>,
    /// All skip connections, in the order they are made.
    skips: Vec<Tensor<4>>,
    /// The last block's output, a leaf of the graph of the network's end.
    last: Tensor<4>,
    camera: Option<CameraTape>,
    wanted: Wanted,
}

/// An estimate of the camera, which the middle block's output leads to.
struct CameraTape {
    /// With the graph that made it.
    estimate: CameraEstimate,
    /// The same as leaves: what the losses are made of.
    leaves: CameraEstimate,
    /// The embedding that the up path gets, with the graph that made it.
    temb: Tensor<2>,
}

/// Of what gradients are needed.
struct Wanted {
    sample: bool,
    temb: bool,
    text: bool,
    objects: bool,
    /// Of a feature pyramid, which every block reads.
    features: bool,
    /// Of a view volume, which the blocks from the middle on read.
    volume: bool,
    /// Of the estimate of the camera, which the up path reads.
    camera: bool,
    /// Number of blocks at the start of the network that need no backward pass.
    blocks_before: usize,
}

impl Wanted {
    fn of(weights: &UNet2DCondition, text: bool) -> Self {
        let sample = trains(&weights.conv_in);
        let temb = trains(&weights.time_embedding)
            || trains(&weights.add_embedding)
            || trains(&weights.class_embedding)
            || trains(&weights.class_label_embedding)
            || trains(&weights.camera_pose_embedding)
            || trains(&weights.domain_embedding);
        let text = text || trains(&weights.context_embedding);
        let features = trains(&weights.feature_pyramid);
        let objects = trains(&weights.position_net);
        let volume = trains(&weights.view_volume);
        let camera = trains(&weights.camera_regression);
        let reads = text || objects;
        let down = weights
            .down_blocks
            .iter()
            .map(|block| trains(block) || reads && block.attends());
        let rest = std::iter::once(reads || volume || trains(&weights.mid_block)).chain(
            weights
                .up_blocks
                .iter()
                .map(|block| camera || trains(block)),
        );
        let first = down.chain(rest).position(|wanted| wanted);
        let blocks = weights.down_blocks.len() + 1 + weights.up_blocks.len();
        Self {
            sample,
            temb,
            text,
            objects,
            features,
            volume,
            camera,
            blocks_before: if sample || temb || features {
                0
            } else {
                first.unwrap_or(blocks)
            },
        }
    }
}

/// Inputs of one block as leaves of a graph of its own.
struct Leaves {
    x: Tensor<4>,
    temb: Tensor<2>,
    /// Whether `temb` is the embedding that holds the estimate of the camera.
    has_camera: bool,
    context: AttentionContext,
}

/// Gradients on their way from the end of the network to its start.
struct Flow {
    /// Of the block's output.
    x: Tensor<4>,
    /// Of the skip connections, once a block that read them was passed.
    skips: Vec<Option<Tensor<4>>>,
    temb: Option<Tensor<2>>,
    /// Of the embedding that the up path gets, where that is another one.
    temb_of_camera: Option<Tensor<2>>,
    text: Option<Tensor<3>>,
    objects: Option<Tensor<3>>,
    /// By level.
    features: Vec<Option<Tensor<4>>>,
    /// By level.
    volume: Vec<Option<Tensor<5>>>,
}

impl UNet2DCondition {
    /// The output, on the graph of the last layers alone, and what the backward pass goes on with.
    pub(crate) fn forward_checkpointed(
        &self,
        weights: &Self,
        x_t: Tensor<4>,
        timestep: Tensor<1>,
        conditioning: &Conditioning,
        trains_text: bool,
    ) -> (Tensor<4>, Option<CameraEstimate>, UNetTape) {
        let begun = self.begin(x_t, timestep, conditioning);
        let wanted = Wanted::of(weights, trains_text);
        let plain = self.valid();
        let mut temb = begun.temb.clone().inner();
        let context = AttentionContext {
            encoder_hidden_states: begun.context.encoder_hidden_states.clone().inner(),
            objects: begun.context.objects.clone().map(Tensor::inner),
            features: None,
            volume: begun
                .context
                .volume
                .iter()
                .cloned()
                .map(Tensor::inner)
                .collect(),
        };
        let mut blocks = 0..;
        let mut next_context = || AttentionContext {
            features: (blocks.next()).and_then(|block| begun.features(self.level(block))),
            ..context.clone()
        };
        let mut x = begun.sample.clone().inner();
        let mut skips = vec![x.clone()];
        let mut inputs = Vec::new();
        for block in &plain.down_blocks {
            inputs.push(x.clone());
            x = block.forward(x, &temb, &next_context(), &mut skips);
        }
        inputs.push(x.clone());
        x = plain.mid_block.forward(x, &temb, &next_context());
        let camera = self.camera_regression.as_ref().map(|regression| {
            let (estimate, of_camera) = regression.forward(&Tensor::from_inner(x.clone()));
            let of_leaf = |x: &Tensor<1>| leaf(x.clone().inner(), wanted.camera);
            CameraTape {
                leaves: CameraEstimate {
                    elevation: of_leaf(&estimate.elevation),
                    inverse_focal: of_leaf(&estimate.inverse_focal),
                },
                estimate,
                temb: kernels::silu(begun.embedding.clone() + of_camera),
            }
        });
        if let Some(camera) = &camera {
            temb = camera.temb.clone().inner();
        }
        let all_skips = skips.clone();
        for block in &plain.up_blocks {
            inputs.push(x.clone());
            x = block.forward(x, &temb, &next_context(), &mut skips);
        }
        let last = Tensor::from_inner(x).require_grad();
        let output = self.end(last.clone());
        let estimate = camera.as_ref().map(|camera| camera.leaves.clone());
        let tape = UNetTape {
            network: self.clone(),
            begun,
            inputs,
            skips: all_skips,
            last,
            camera,
            wanted,
        };
        (output, estimate, tape)
    }
}

impl UNetTape {
    /// From the gradient of the last block's output to the parameters of all blocks and of what comes before them.
    pub(crate) fn backward(&self, gradients: &Gradients, collect: &mut dyn FnMut(&mut Gradients)) {
        let network = &self.network;
        let Some(x) = self.last.grad(gradients) else {
            return;
        };
        let mut flow = Flow {
            x,
            skips: self.skips.iter().map(|_| None).collect(),
            temb: None,
            temb_of_camera: None,
            text: None,
            objects: None,
            features: self.begun.pyramid.iter().map(|_| None).collect(),
            volume: self.begun.context.volume.iter().map(|_| None).collect(),
        };
        let of_camera = self
            .camera
            .as_ref()
            .map(|camera| camera.gradients(gradients));
        let down = network.down_blocks.len();
        // Blocks are numbered as they run.
        let mut first_skip = 0;
        for (i, block) in network.up_blocks.iter().enumerate().rev() {
            if down + 1 + i < self.wanted.blocks_before {
                return self.begin_backward(flow, of_camera, collect);
            }
            let skips = first_skip..first_skip + block.skips();
            first_skip = skips.end;
            let leaves = self.leaves(down + 1 + i);
            let taken: Vec<Tensor<4>> = self.skips[skips.clone()]
                .iter()
                .map(|skip| Tensor::from_inner(skip.clone()).require_grad())
                .collect();
            // The one below tells the size to grow to.
            let below = skips.start.checked_sub(1).map(|i| self.skips[i].clone());
            let mut stack: Vec<Tensor<4>> = below.map(Tensor::from_inner).into_iter().collect();
            stack.extend(taken.iter().cloned());
            let x = block.forward(leaves.x.clone(), &leaves.temb, &leaves.context, &mut stack);
            let mut gradients = product(x, flow.x.clone()).backward();
            for (skip, taken) in flow.skips[skips].iter_mut().zip(&taken) {
                *skip = taken.grad_remove(&mut gradients);
            }
            flow.pass(&leaves, network.level(down + 1 + i), &mut gradients);
            collect(&mut gradients);
        }

        if down < self.wanted.blocks_before {
            return self.begin_backward(flow, of_camera, collect);
        }
        let leaves = self.leaves(down);
        let x = network
            .mid_block
            .forward(leaves.x.clone(), &leaves.temb, &leaves.context);
        let mut gradients = product(x, flow.x.clone()).backward();
        flow.pass(&leaves, network.level(down), &mut gradients);
        collect(&mut gradients);

        let mut end = self.skips.len();
        for (i, block) in network.down_blocks.iter().enumerate().rev() {
            if i < self.wanted.blocks_before {
                return self.begin_backward(flow, of_camera, collect);
            }
            let skips = end - block.skips()..end;
            end = skips.start;
            let leaves = self.leaves(i);
            let mut made = Vec::new();
            block.forward(leaves.x.clone(), &leaves.temb, &leaves.context, &mut made);
            let mut loss: Option<Tensor<1>> = None;
            let last = made.len() - 1;
            for (k, (made, skip)) in made.into_iter().zip(skips).enumerate() {
                let across = flow.skips[skip].take();
                // The last skip connection is what the next block gets.
                let gradient = match (across, k == last) {
                    (across, true) => join(Some(flow.x.clone()), across),
                    (across, false) => across,
                };
                if let Some(gradient) = gradient {
                    let part = product(made, gradient);
                    loss = Some(match loss {
                        Some(loss) => loss + part,
                        None => part,
                    });
                }
            }
            let Some(loss) = loss else { return };
            let mut gradients = loss.backward();
            flow.pass(&leaves, network.level(i), &mut gradients);
            collect(&mut gradients);
        }
        self.begin_backward(flow, of_camera, collect);
    }

    /// The gradients of what the first block got, into the layers that made it.
    fn begin_backward(
        &self,
        mut flow: Flow,
        of_camera: Option<[Option<Tensor<1>>; 2]>,
        collect: &mut dyn FnMut(&mut Gradients),
    ) {
        let across = flow.skips.first_mut().and_then(Option::take);
        let of_sample = self.wanted.sample.then_some(flow.x);
        let parts = [
            of_sample
                .and_then(|x| join(Some(x), across))
                .map(|gradient| product(self.begun.sample.clone(), gradient)),
            flow.temb
                .map(|gradient| product(self.begun.temb.clone(), gradient)),
            flow.text.map(|gradient| {
                product(self.begun.context.encoder_hidden_states.clone(), gradient)
            }),
            flow.objects
                .zip(self.begun.context.objects.clone())
                .map(|(gradient, objects)| product(objects, gradient)),
        ];
        let levels = flow.features.into_iter().zip(&self.begun.pyramid);
        let levels = levels.filter_map(|(gradient, features)| {
            gradient.map(|gradient| product(features.clone(), gradient))
        });
        let volume = flow.volume.into_iter().zip(&self.begun.context.volume);
        let volume = volume.filter_map(|(gradient, features)| {
            gradient.map(|gradient| product(features.clone(), gradient))
        });
        let camera = (self.camera.iter())
            .zip(of_camera)
            .flat_map(|(camera, gradients)| camera.losses(gradients, flow.temb_of_camera.take()));
        let loss = parts
            .into_iter()
            .flatten()
            .chain(levels)
            .chain(volume)
            .chain(camera)
            .reduce(|a, b| a + b);
        if let Some(loss) = loss {
            collect(&mut loss.backward());
        }
    }

    /// The inputs of block `index` as leaves.
    fn leaves(&self, index: usize) -> Leaves {
        let x = self.inputs[index].clone();
        // Before the first layer that trains, nothing needs a gradient.
        let context = &self.begun.context;
        let in_up_path = index > self.network.down_blocks.len();
        let camera = self.camera.as_ref().filter(|_| in_up_path);
        let (temb, of_temb) = match camera {
            Some(camera) => (&camera.temb, self.wanted.temb || self.wanted.camera),
            None => (&self.begun.temb, self.wanted.temb),
        };
        let of_x = index > self.wanted.blocks_before || self.wanted.sample;
        Leaves {
            x: leaf(x, of_x),
            temb: leaf(temb.clone().inner(), of_temb),
            has_camera: camera.is_some(),
            context: AttentionContext {
                encoder_hidden_states: leaf(
                    context.encoder_hidden_states.clone().inner(),
                    self.wanted.text,
                ),
                objects: context
                    .objects
                    .clone()
                    .map(|objects| leaf(objects.inner(), self.wanted.objects)),
                features: self
                    .begun
                    .features(self.network.level(index))
                    .map(|features| leaf(features, self.wanted.features)),
                volume: (context.volume.iter())
                    .map(|level| leaf(level.clone().inner(), self.wanted.volume))
                    .collect(),
            },
        }
    }
}

impl Begun {
    /// The features of a pyramid's level, off the graph.
    fn features(&self, level: usize) -> Option<Tensor<4>> {
        self.pyramid.get(level).cloned().map(Tensor::inner)
    }
}

impl Flow {
    /// Goes on to the block before.
    fn pass(&mut self, leaves: &Leaves, level: usize, gradients: &mut Gradients) {
        if let Some(x) = leaves.x.grad_remove(gradients) {
            self.x = x;
        }
        let temb = leaves.temb.grad_remove(gradients);
        let sum = match leaves.has_camera {
            true => &mut self.temb_of_camera,
            false => &mut self.temb,
        };
        *sum = join(temb, sum.take());
        let text = leaves.context.encoder_hidden_states.grad_remove(gradients);
        self.text = join(text, self.text.take());
        let objects = leaves.context.objects.as_ref();
        let objects = objects.and_then(|objects| objects.grad_remove(gradients));
        self.objects = join(objects, self.objects.take());
        let features = leaves.context.features.as_ref();
        if let (Some(features), Some(sum)) = (features, self.features.get_mut(level)) {
            *sum = join(features.grad_remove(gradients), sum.take());
        }
        for (level, sum) in leaves.context.volume.iter().zip(&mut self.volume) {
            *sum = join(level.grad_remove(gradients), sum.take());
        }
    }
}

impl CameraTape {
    /// Of the losses, in the elevation and the inverse focal length.
    fn gradients(&self, gradients: &Gradients) -> [Option<Tensor<1>>; 2] {
        [&self.leaves.elevation, &self.leaves.inverse_focal].map(|leaf| leaf.grad(gradients))
    }

    /// Leads the gradients of the estimate, and of the embedding made of it, into the layers that made them.
    fn losses(
        &self,
        [elevation, inverse_focal]: [Option<Tensor<1>>; 2],
        temb: Option<Tensor<2>>,
    ) -> impl Iterator<Item = Tensor<1>> {
        let of = |x: &Tensor<1>, gradient: Option<Tensor<1>>| {
            gradient.map(|gradient| product(x.clone(), gradient))
        };
        [
            of(&self.estimate.elevation, elevation),
            of(&self.estimate.inverse_focal, inverse_focal),
            temb.map(|gradient| product(self.temb.clone(), gradient)),
        ]
        .into_iter()
        .flatten()
    }
}

fn leaf<const D: usize>(tensor: Tensor<D>, wanted: bool) -> Tensor<D> {
    let tensor = Tensor::from_inner(tensor);
    if wanted {
        tensor.require_grad()
    } else {
        tensor
    }
}

/// The loss whose gradient in `output` is `gradient`.
fn product<const D: usize>(output: Tensor<D>, gradient: Tensor<D>) -> Tensor<1> {
    (output * Tensor::from_inner(gradient)).sum()
}

fn join<const D: usize>(a: Option<Tensor<D>>, b: Option<Tensor<D>>) -> Option<Tensor<D>> {
    match (a, b) {
        (Some(a), Some(b)) => Some(a + b),
        (a, b) => a.or(b),
    }
}
