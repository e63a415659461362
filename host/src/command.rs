//! One module and one function per command.

pub mod devices;
