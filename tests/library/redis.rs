//! The example of the documentation, with a Redis server: Debian's where it is installed, otherwise one that knows two keys.

use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};

use super::{client, node, sandbox, serve, wait_until};

#[path = "../../docs/examples/redis.rs"]
#[allow(dead_code, reason = "its main is the example's")]
mod example;

/// Debian's server; ended with this.
struct Server(Child);

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Its port, with the key `greeting`.
fn redis() -> Option<(Server, u16)> {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    drop(listener);
    let server = Command::new("redis-server")
        .args([
            "--bind",
            "127.0.0.1",
            "--port",
            &port.to_string(),
            "--save",
            "",
        ])
        .stdout(Stdio::null())
        .spawn();
    let server = Server(server.ok()?);
    let mut connection = None;
    wait_until("redis-server", || {
        connection = TcpStream::connect(("127.0.0.1", port)).ok();
        connection.is_some()
    });
    let mut connection = connection?;
    connection.write_all(b"SET greeting hello\r\n").unwrap();
    let mut answer = String::new();
    BufReader::new(connection).read_line(&mut answer).unwrap();
    assert_eq!(answer, "+OK\r\n");
    Some((server, port))
}

/// The same for who asks as the example does.
fn stand_in() -> u16 {
    serve(|stream| {
        let mut lines = BufReader::new(&stream).lines().map_while(Result::ok);
        while let Some(key) = lines.nth(4) {
            let answer = if key == "greeting" {
                "$5\r\nhello\r\n"
            } else {
                "$-1\r\n"
            };
            (&stream).write_all(answer.as_bytes()).unwrap();
        }
    })
}

#[test]
fn the_example_asks_redis() {
    let sandbox = sandbox();
    let client = client(&sandbox);
    let target = node(&client);
    let real = redis();
    println!("redis-server is installed: {}", real.is_some());
    let port = real.as_ref().map_or_else(stand_in, |(_, port)| *port);
    let get = |key| {
        let stream = client.connect(&target, "localhost", port).unwrap();
        example::get(stream, key).map_err(|error| error.to_string())
    };
    assert_eq!(get("greeting"), Ok("hello".to_owned()));
    assert_eq!(get("nothing"), Err("there is no such key".to_owned()));
}
