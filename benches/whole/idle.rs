//! What a session costs while nothing happens.

use std::path::Path;
use std::thread;
use std::time::Duration;

use super::process::{self, Failed, Plugin, command};
use super::service::Service;
use super::setup::{Bench, Route, Way, start};

/// An idle port session after a connection has come and gone: resident MB, threads, wake-ups a second, CPU ms a second.
pub fn idle(bench: &Bench, binary: &Path, full_bundle: bool) -> Result<[f64; 4], Failed> {
    let sandbox = &bench.tls;
    let service = Service::start(false);
    let started = start(
        sandbox,
        Way::Mux,
        false,
        1024,
        &Route::default(),
        service.port,
    );
    let mut command = command(binary, sandbox, &started, 1024);
    let folder = tempfile::tempdir().map_err(|error| error.to_string())?;
    let bundle = folder.path().join("bundle.pem");
    if full_bundle {
        process::full_bundle(sandbox, &bundle).ok_or("no bundle on this system")?;
        command.env("AWS_CA_BUNDLE", &bundle);
        command.env("SSL_CERT_FILE", &bundle);
    }
    let mut plugin = Plugin::spawn(command)?;
    plugin.port()?;
    plugin.ignore_stdout();
    thread::sleep(Duration::from_secs(1));
    let (sleeps, cpu) = (plugin.sleeps(), plugin.cpu());
    let window = bench.window * 3;
    thread::sleep(window);
    let seconds = window.as_secs_f64();
    let sleeps = (plugin.sleeps() - sleeps) / seconds;
    let cpu = (plugin.cpu() - cpu) * 1e3 / seconds;
    let (resident, _) = plugin.memory();
    let figures = [resident, plugin.threads(), sleeps, cpu];
    started.session.terminate("");
    started.session.kill_agent();
    Ok(figures)
}
