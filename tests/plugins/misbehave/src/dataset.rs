//! Points on a line.

use std::{
    hash::{DefaultHasher, Hash, Hasher},
    io::Write,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use dsl_sdk::{
    Batch, BatchRequest, Buckets, Column, ColumnData, ColumnRole, ColumnSpec, DType, Dataset, Host,
    PluginError, tracing,
};

use crate::{
    conditioning,
    fault::{Fault, hang},
};

/// How many datasets there were so far.
static DATASETS: AtomicU64 = AtomicU64::new(0);

/// Points on a line, with names.
pub(crate) struct Line {
    fault: Fault,
    /// How many there were before.
    number: u64,
    after: u64,
    scale: f32,
    host: Host,
    /// Batches of training so far.
    training: AtomicU64,
    /// All batches so far.
    calls: AtomicU64,
    /// Batches of four samples that are made already.
    stock: Mutex<Vec<Vec<f32>>>,
    buckets: Option<Buckets>,
}

/// Every third point has three numbers, and the others have two.
fn buckets(fault: Fault, dataset: u64) -> Buckets {
    let every = match fault {
        Fault::BucketsChange if dataset % 2 == 1 => 5,
        _ => 3,
    };
    let mut of_sample: Vec<u32> = (0..100).map(|i| u32::from(i % every == 0)).collect();
    if fault == Fault::NoSuchBucket {
        of_sample[7] = 2;
    }
    Buckets {
        shapes: vec![vec![2], vec![3]],
        of_sample,
    }
}

/// Numbers of a sample of [`Fault::Large`].
const LARGE: usize = 3 * 1024 * 1024;
/// Samples of a batch of [`Fault::Large`], and batches that are made before they are asked for.
const LARGE_BATCH: usize = 4;
const STOCK: usize = 24;

impl Line {
    pub(crate) fn new(fault: Fault, after: u64, scale: f32, host: Host) -> Self {
        let (training, calls) = Default::default();
        let number = DATASETS.fetch_add(1, Ordering::Relaxed);
        Self {
            fault,
            number,
            after: if fault == Fault::EndlessAfterFour {
                4
            } else {
                after
            },
            scale,
            host,
            training,
            calls,
            buckets: fault.has_buckets().then(|| buckets(fault, number)),
            stock: Mutex::new(match fault {
                Fault::Large => vec![vec![0.5; LARGE_BATCH * LARGE]; STOCK],
                _ => vec![],
            }),
        }
    }

    fn wait_for_a_stop(&self) -> PluginError {
        let mut done = 0;
        while !self.host.cancelled() {
            self.host.progress(done, 0, "waiting for a stop");
            std::thread::sleep(std::time::Duration::from_millis(1));
            done += 1;
        }
        PluginError::cancelled()
    }

    fn large(&self, request: &BatchRequest<'_>) -> Batch {
        let count = request.indices.len();
        let ready = match count {
            LARGE_BATCH => self
                .stock
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .pop(),
            _ => None,
        };
        let values = ready.unwrap_or_else(|| vec![0.5; count * LARGE]);
        Batch {
            columns: vec![
                Column {
                    name: "name".into(),
                    data: ColumnData::Text(vec![String::new(); count]),
                },
                Column {
                    name: "point".into(),
                    data: ColumnData::F32 {
                        shape: vec![count as u64, LARGE as u64],
                        values,
                    },
                },
            ],
        }
    }

    /// What the fault adds to the sample at a place of a batch.
    fn error(&self, place: usize, index: u64, request: &BatchRequest<'_>, call: u64) -> f32 {
        match self.fault {
            Fault::DependsOnNeighbours => place as f32,
            Fault::DependsOnCalls => call as f32,
            Fault::DependsOnThread => {
                let mut hasher = DefaultHasher::new();
                std::thread::current().id().hash(&mut hasher);
                (hasher.finish() % 1000) as f32
            }
            Fault::DependsOnProcess => std::process::id() as f32,
            Fault::UsesSeedsAlways => (request.seeds[place] % 1000) as f32,
            Fault::NotFinite if index == 0 => f32::NAN,
            Fault::DependsOnTasks => self.number as f32,
            _ => 0.0,
        }
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        self.fault
            .panic_if(Fault::PanicInDrop, "while being dropped");
        if self.fault == Fault::AbortInDrop {
            std::process::abort();
        }
    }
}

impl Dataset for Line {
    fn len(&self) -> u64 {
        self.fault.panic_if(Fault::PanicInLen, "in the length");
        if self.fault == Fault::Empty { 0 } else { 100 }
    }

    fn columns(&self) -> Vec<ColumnSpec> {
        self.fault.panic_if(Fault::PanicInColumns, "in the columns");
        let column = |name: &str, dtype, shape, role| ColumnSpec {
            name: name.into(),
            dtype,
            shape,
            role,
        };
        let role = match self.fault {
            Fault::ColumnsChange if self.number % 2 == 1 => ColumnRole::Other,
            _ => ColumnRole::Text,
        };
        let width = match self.fault {
            Fault::Large => Some(LARGE as u64),
            fault if fault.has_buckets() => None,
            _ => Some(2),
        };
        let mut columns = vec![
            column("point", DType::F32, vec![width], ColumnRole::Vector),
            column("name", DType::Text, vec![], role),
        ];
        if self.fault.is_conditioned() {
            columns.extend(conditioning::columns());
        }
        columns
    }

    fn buckets(&self) -> Option<&Buckets> {
        self.buckets.as_ref()
    }

    fn batch(&self, request: &BatchRequest<'_>) -> Result<Batch, PluginError> {
        let call = self.calls.fetch_add(1, Ordering::Relaxed);
        let before = match request.augment {
            true => self.training.fetch_add(1, Ordering::Relaxed),
            // Where training is to go wrong later, all else is right.
            false if self.after > 0 => 0,
            false => u64::MAX,
        };
        let fault = if before < self.after {
            Fault::None
        } else {
            self.fault
        };
        let first = request.indices.first().copied().unwrap_or(0) as usize;
        let mut width = match (&self.buckets, fault) {
            (None, _) => 2,
            (Some(buckets), Fault::OtherBucketsShape) => 3 - buckets.of_sample[first] as usize,
            (Some(buckets), _) => 2 + buckets.of_sample[first] as usize,
        };
        match fault {
            Fault::PanicInBatch => panic!("told to panic at sample {:?}", request.indices.first()),
            Fault::PanicOnEmpty => assert!(!request.indices.is_empty(), "told to panic when empty"),
            Fault::PanicInParallel | Fault::AbortInParallel => {
                self.host.parallel(8, |piece| match (fault, piece) {
                    (Fault::AbortInParallel, 5) => std::process::abort(),
                    (_, 5) => panic!("told to panic in piece 5"),
                    _ => Ok(()),
                })?;
            }
            Fault::WorksUnderLock => {
                let lock = Mutex::new(0);
                self.host.parallel(64, |_| {
                    let mut sum = lock.lock().unwrap_or_else(PoisonError::into_inner);
                    *sum += self.host.parallel(64, Ok)?.iter().sum::<usize>();
                    Ok(())
                })?;
            }
            Fault::ErrorInBatch => {
                return Err(PluginError::io("shard 7 is gone")
                    .with_help("bring it back")
                    .with_detail("all of it"));
            }
            Fault::WrongShape => width = 3,
            Fault::Warns => {
                tracing::warn!(target: "misbehave", count = request.indices.len(), "told to warn");
            }
            Fault::Endless | Fault::EndlessAfterFour if before >= self.after => {
                return Err(self.wait_for_a_stop());
            }
            Fault::Large => return Ok(self.large(request)),
            Fault::HangInBatch => hang(),
            Fault::AsksOnce => {
                if self.host.cancelled() {
                    return Err(PluginError::cancelled());
                }
                // Small batches are quick, so that only the stop in the middle of one is late.
                if request.indices.len() > 100 {
                    std::thread::sleep(Duration::from_secs(7));
                }
            }
            Fault::Shouts => {
                let line = [b'#'; 4096];
                loop {
                    // Until somebody ends the process.
                    let _ = std::io::stderr().write_all(&line);
                }
            }
            Fault::AbortOnOwnThread => {
                let _ = std::thread::spawn(|| std::process::abort()).join();
            }
            Fault::ExitOnOwnThread => {
                let _ = std::thread::spawn(|| std::process::exit(0)).join();
            }
            Fault::AbortInBatch => std::process::abort(),
            Fault::ExitInBatch => std::process::exit(0),
            Fault::StackOverflow => {
                std::hint::black_box(deeper(1));
            }
            Fault::HugeAllocation => {
                std::hint::black_box(vec![1_u8; 1 << 46]);
            }
            Fault::Leaks => {
                Box::leak(vec![1_u8; 4_000].into_boxed_slice());
            }
            _ => {}
        }
        let mut indices = request.indices.to_vec();
        if fault == Fault::SortsIndices {
            indices.sort_unstable();
        }
        let values: Vec<f32> = (indices.iter().enumerate())
            .flat_map(|(place, &index)| {
                let value = self.scale * index as f32 / 100.0;
                vec![value + self.error(place, index, request, call); width]
            })
            .collect();
        let mut names: Vec<String> = indices
            .iter()
            .map(|index| match self.fault {
                Fault::TokenNeverSaid => format!("point {index}"),
                fault if fault.is_conditioned() => format!("{} {index}", conditioning::WORD),
                _ => format!("point {index}"),
            })
            .collect();
        if fault == Fault::FewTexts {
            names.pop();
        }
        let shape = vec![indices.len() as u64, width as u64];
        let point = match fault {
            Fault::WrongDtype => ColumnData::I64 {
                values: values.iter().map(|&value| value as i64).collect(),
                shape,
            },
            _ => ColumnData::F32 { shape, values },
        };
        let column = |name: &str, data| Column {
            name: name.into(),
            data,
        };
        let mut columns = vec![column("name", ColumnData::Text(names.clone()))];
        if fault != Fault::MissingColumn {
            columns.push(column("point", point));
        }
        if fault == Fault::ExtraColumn {
            columns.push(column("surprise", ColumnData::Text(names)));
        }
        if self.fault.is_conditioned() {
            columns.extend(conditioning::batch(self.fault, &indices));
        }
        Ok(Batch { columns })
    }
}

/// Never the deepest.
#[allow(unconditional_recursion)]
fn deeper(depth: u64) -> u64 {
    let frame = std::hint::black_box([depth; 64]);
    frame[0] + deeper(depth + 1) + frame[63]
}
