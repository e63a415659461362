//! Real plugins, built and loaded as a host loads them.

mod it {
    mod faults;
    mod old;
    mod plugins;
    mod services;
    pub mod support;
}
