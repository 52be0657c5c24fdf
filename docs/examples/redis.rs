//! Asks a Redis server that a node reaches for a key: `redis TARGET HOST PORT KEY`.

use std::error::Error;
use std::io::{BufRead, BufReader, Write};
use std::time::Duration;

use session_manager_plugin::{Client, Stream};

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [target, host, port, key] = arguments.as_slice() else {
        return Err("usage: redis TARGET HOST PORT KEY".into());
    };
    let client = Client::from_env()?;
    let target = client.target(target)?;
    let stream = client.connect(&target, host, port.parse()?)?;
    println!("{}", get(stream, key)?);
    // Its session is ended in the background, which the end of the process would cut short.
    client.wait_idle(Duration::from_secs(5));
    Ok(())
}

/// What the key holds.
pub fn get(mut stream: Stream, key: &str) -> Result<String, Box<dyn Error>> {
    write!(stream, "*2\r\n$3\r\nGET\r\n${}\r\n{key}\r\n", key.len())?;
    let mut lines = BufReader::new(stream).lines();
    let length = lines.next().ok_or("no answer")??;
    match length.as_str() {
        "$-1" => Err("there is no such key".into()),
        length if length.starts_with('$') => Ok(lines.next().ok_or("half an answer")??),
        error => Err(error.into()),
    }
}
