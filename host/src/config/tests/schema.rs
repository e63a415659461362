//! Tests.
use super::{Config, plugin};
use crate::config::compose;
#[test]
fn show() {
    println!("{:#}", compose::<Config>(Some(&plugin())).unwrap());
}
