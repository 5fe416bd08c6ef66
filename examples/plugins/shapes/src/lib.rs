//! What the host and its plugins agree on. Each of them compiles it for itself.

/// Something with an area. `#[export]` describes the trait, so that objects of it can cross.
#[sideload::export]
pub trait Shape {
    /// What it is.
    fn name(&self) -> String;
    /// Its area, for one unit of its size.
    fn area(&self) -> f64;
}
