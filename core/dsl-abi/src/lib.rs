//! The frozen contract between `dsl-host` and its task plugins: what crosses the boundary, and nothing else.
//!
//! Used by `dsl-sdk` (the plugin's side) and `dsl-loader` (the host's side). It must never depend on either, nor on
//! anything that computes: no tensors library, no image library, no logging.
//!
//! # What crosses
//! - A root module, [`Plugin`]: two functions, `manifest` and `extension`. It is the same for ever.
//! - Extensions, by id ([`task::TASK_V1`] is `dsl.task/1`, [`assets::ASSETS_V1`] is `dsl.assets/1`,
//!   [`buckets::BUCKETS_V1`] is `dsl.buckets/1`, [`self_test::SELF_TEST_V1`] is `dsl.self-test/1`). An [`Extension`] carries the layout of the interface behind it,
//!   and [`Extension::get`] compares that layout with its own before anything is called.
//! - Services of the host, the other way round and by id as well ([`services`]): a [`Service`] is checked in the same
//!   way, and belongs to the plugin that asked for it.
//! - Hot data as structures with a release function ([`Buffer`], [`Tensor`], [`TextColumn`], [`BatchView`]).
//! - Cold data as JSON text, whose Rust types stand in [`declare`]: a JSON object can grow, a structure cannot.
//! - Errors as [`AbiError`]: code, message, help, detail. A panic never crosses; whoever implements an interface
//!   catches it and returns [`RawErrorCode::PANIC`].
//!
//! # Versioning
//! What a plugin's author can rely on, and what a change has to do.
//!
//! 1. **From version 1 on an interface never changes**: no field, method, argument or meaning. A change is a new id
//!    (`dsl.task/2`), and the host keeps an adapter for each older one, so that a plugin that loads once loads with every
//!    later host. A plugin may offer several ids for one purpose; the host takes the newest that it knows.
//! 2. **The number in an id is the version of that interface alone.** It is neither the version of this crate nor that of
//!    the product, and interfaces move one by one.
//! 3. **Number 0 meant draft**: such an interface could still change, and a plugin built against a draft is refused by the
//!    layout check with a message, not called. All ids became number 1 together, when six tasks had been built on them. A
//!    new interface may be a draft again at first.
//! 4. **The root module is the one thing that is the same for ever**: two functions. Nothing is added to it.
//! 5. **Codes are open sets**: [`RawDType`] and [`RawErrorCode`] are integers with named constants. An unknown error code
//!    reads as *other*; an unknown data type is an error that names its number.
//! 6. **JSON documents grow by new optional keys.** [`declare::Manifest`] ignores keys it does not know. The documents
//!    that say how a network is conditioned or fed refuse them, since ignoring such a key would train something else; a
//!    new kind of conditioning is therefore an error of an older host, by name, before anything is trained.
//! 7. **The version of this crate is part of every layout**, since `abi_stable` compares it. It moves when the layout of
//!    something that crosses moves, and only then: a new id, a new JSON key or a new function of this crate does not move
//!    it. Its second number counted the drafts; since ids are number 1 it stays 1.0.0.
//! 8. **Services of the host follow the same rules** ([`services`]), seen from the other side: a plugin asks for an id and
//!    does without where the host has none.
//! 9. **What was built is kept**: plugins of two drafts lie in `tests/fixtures/plugins`, to see that they are refused with one
//!    line that says why, and one of version 1, which has to load, and give the samples that it gave, for ever.
//!
//! Compilers need not be the same: everything that crosses is laid out in C's way, and memory is released by whoever
//! allocated it.
//!
//! # Threads
//! Each interface method carries one of these tags:
//! - `[any thread]`: callable at any time from any thread, several at once.
//! - `[one thread at a time]`: callable from any thread, never two calls on one object at once.
//!
//! # Lifetime
//! A plugin is never unloaded, so `'static` data of a plugin really is static. Whoever allocates releases: each buffer
//! travels with its own release function.

// `#[sabi_trait]` expands to impls that this lint dislikes, and to names that are not camel case.
#![allow(non_local_definitions)]

pub mod assets;
pub mod buckets;
pub mod buffer;
pub mod check;
pub mod declare;
pub mod error;
pub mod extension;
pub mod host;
pub mod root;
pub mod self_test;
pub mod services;
pub mod task;
pub mod tensor;

pub use abi_stable;
pub use buffer::Buffer;
pub use error::{AbiError, RawErrorCode};
pub use extension::{Extension, Service};
pub use root::{Plugin, PluginRef};
pub use tensor::{BatchColumns, BatchView, RawDType, Tensor, TensorView, TextColumn, TextView};
