//! Chance, for waits: many clients that lose the same service must not come back in step.

/// A random share of a wait, from 0 to 1. Without randomness it is all of it.
pub(crate) fn share() -> f64 {
    getrandom::u32().map_or(1.0, |random| f64::from(random) / f64::from(u32::MAX))
}
