//! What users of such clients report (P104 to P120 of the pitfalls), tried on the built program.

#[path = "../support/mod.rs"]
mod support;
#[path = "../trust_support/mod.rs"]
mod trust_support;

mod acknowledgements;
mod encryption;
mod endings;
mod endpoints;
mod login;
mod parameters;
mod parent;
mod paste;
mod paths;
mod profiles;
mod python;
mod stdin;
mod trust;
mod waiting;
