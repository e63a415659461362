//! The cases against plugins that are wrong on purpose, and against those of this project.

mod it {
    mod faults;
    mod inspect;
    mod right;
    mod support;
}
