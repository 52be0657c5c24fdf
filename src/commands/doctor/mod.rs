//! `doctor`: finds what prevents a session. Every step has a deadline, and steps that wait for the network run side by side.

mod check;
mod machine;
mod reach;
mod setup;
mod target;
mod who;

use std::thread;

use super::Surroundings;
use crate::cli::Doctor;
use crate::client::Api;
use check::{Check, DoctorReport};
use reach::EndpointPlace;

/// Runs `doctor` and returns the exit code.
pub(super) fn run(doctor: &Doctor, around: &Surroundings) -> u8 {
    let mut report = DoctorReport::new(doctor.json, around.redactor.clone());
    if let Some(api) = setup::examine(doctor, around, &mut report) {
        ask(&api, doctor, around, &mut report);
    }
    report.add(&machine::terminal(&around.environment));
    report.add(&machine::limits());
    report.end()
}

/// The steps that call AWS.
fn ask(api: &Api, doctor: &Doctor, around: &Surroundings, report: &mut DoctorReport) {
    let url = match api.ssm_url() {
        Ok(url) => url,
        Err(error) => {
            let next = "correct the endpoint that it names";
            return report.add(&Check::problem("endpoints", error.to_string(), next));
        }
    };
    let places = [
        EndpointPlace::ssm(&url),
        EndpointPlace::streams(api, &around.settings),
    ];
    let hosts: Vec<String> = places
        .iter()
        .map(|place| format!("{} at {}:{}", place.name, place.host, place.port))
        .collect();
    report.add(&Check::fine("endpoints", hosts.join(", ")));
    report.add(&proxy(api, &places));
    let named = || around.environment.get("AWS_PROFILE");
    let profile = doctor.account.profile.as_deref().or_else(named);
    let target = doctor.target.as_deref().filter(|name| !name.is_empty());
    let target = target.or_else(|| around.environment.get("SSM_PLUGIN_TARGET"));
    thread::scope(|scope| {
        let reached: Vec<_> = places
            .iter()
            .map(|place| scope.spawn(move || reach::reach(api, place)))
            .collect();
        let clock = scope.spawn(|| reach::clock(api, &url));
        let who = scope.spawn(|| {
            let (mut checks, is_good) = who::examine(api, profile);
            if let Some(target) = target.filter(|_| is_good) {
                checks.extend(target::examine(api, target, around));
            }
            checks
        });
        // In the order of the steps, each as soon as those before it are over.
        for check in reached {
            add(report, check.join());
        }
        if let Ok(Some(check)) = clock.join() {
            report.add(&check);
        }
        for check in who.join().unwrap_or_default() {
            report.add(&check);
        }
    });
}

fn add(report: &mut DoctorReport, check: thread::Result<Check>) {
    if let Ok(check) = check {
        report.add(&check);
    }
}

fn proxy(api: &Api, places: &[EndpointPlace]) -> Check {
    let ways: Vec<String> = places
        .iter()
        .map(|place| {
            let proxies = &api.network().proxies;
            let proxy = proxies.proxy_for(place.secure, &place.host, place.port);
            let way = proxy.map_or("directly".to_owned(), |proxy| format!("through {proxy}"));
            format!("{} {way}", place.name)
        })
        .collect();
    Check::fine("proxy", ways.join(", "))
}
