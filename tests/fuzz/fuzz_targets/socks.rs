#![no_main]

#[path = "../../hostile/shapes.rs"]
mod shapes;

libfuzzer_sys::fuzz_target!(|data: &[u8]| shapes::socks(data));
