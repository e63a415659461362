//! Real plugins, built and loaded as a host loads them.

mod it {
    mod faults;
    mod plugins;
    pub mod support;
}
