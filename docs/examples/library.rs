// library.rs
use std::io::{Read, Write};
use std::time::Duration;

use session_manager_plugin::Client;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let port = std::env::args().nth(1).ok_or("which port?")?.parse()?;
    let client = Client::from_env()?;
    let target = client.target("web-1")?;

    // A command, as std::process::Command has it.
    let output = client.exec(&target, ["uname", "-s"]).output()?;
    print!("{}", String::from_utf8_lossy(&output.stdout));

    // A connection without a local port; `forward` opens one.
    let mut stream = client.connect(&target, "localhost", port)?;
    stream.write_all(b"GET / HTTP/1.0\r\n\r\n")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    println!("{}", answer.lines().last().unwrap_or_default());

    // What is dropped is ended in the background.
    drop(stream);
    client.wait_idle(Duration::from_secs(5));
    Ok(())
}
