//! What is read before anything is sent: variables, files, the region, endpoints, proxies, trusted roots.

use crate::VERSION;
use crate::cli::Doctor;
use crate::client::{Api, ApiOptions, Configured};
use crate::client::{Network, ProxySettings, Trust};
use crate::commands::Surroundings;
use crate::environment::Environment;
use crate::error::Error;

use super::check::{Check, DoctorReport};

/// Variables that decide something and do not begin with AWS_ or SSM_PLUGIN_.
const OTHERS: [&str; 8] = [
    "HTTPS_PROXY",
    "https_proxy",
    "ALL_PROXY",
    "all_proxy",
    "NO_PROXY",
    "no_proxy",
    "SSL_CERT_FILE",
    "SSL_CERT_DIR",
];
/// Where roots are named, in the order in which they count.
const ROOTS: [&str; 3] = ["AWS_CA_BUNDLE", "SSL_CERT_FILE", "SSL_CERT_DIR"];

/// Checks all of it. The client for AWS's API, if one can be made from it.
pub(super) fn examine(
    doctor: &Doctor,
    around: &Surroundings,
    report: &mut DoctorReport,
) -> Option<Api> {
    report.add(&Check::fine(
        "version",
        format!(
            "session-manager-plugin {}, protocol of {VERSION}, {} on {}",
            env!("CARGO_PKG_VERSION"),
            std::env::consts::OS,
            std::env::consts::ARCH
        ),
    ));
    let environment = &around.environment;
    report.add(&Check::fine("variables", variables(environment)));
    let profile = doctor.account.profile.as_deref();
    let configured = match Configured::load(environment, profile) {
        Ok(configured) => configured,
        Err(error) => {
            let next = "correct the file that it names, or its permissions";
            report.add(&Check::problem("files", error.to_string(), next));
            return None;
        }
    };
    report.add(&files(environment, &configured));
    let proxies = ProxySettings::from_environment(environment);
    if let Err(error) = &proxies {
        let next = "correct the variable that it names, or unset it";
        report.add(&Check::problem("proxy", error.to_string(), next));
    }
    let bundle = configured.ca_bundle();
    let trust = Trust::new(environment, bundle.as_deref());
    report.add(&match &trust {
        Ok(_) => Check::fine("roots", roots(environment, bundle.is_some())),
        Err(error) => Check::problem(
            "roots",
            error.to_string(),
            "name a PEM file of certificate authorities that is there, or unset the variable",
        ),
    });
    let network = Network::new(environment, bundle.as_deref()).ok()?;
    let options = ApiOptions {
        region: doctor.account.region.clone(),
        profile: doctor.account.profile.clone(),
        endpoint: doctor
            .account
            .endpoint_url
            .clone()
            .map(crate::client::CallerEndpoint::Asked),
        target: None,
        stream_host: None,
        remarks: crate::remarks::Remarks::default(),
    };
    let network = network.hiding(&around.redactor);
    match Api::new(options, environment, &configured, network) {
        Ok(api) => {
            let region = crate::sanitise::line(api.region());
            report.add(&Check::fine("region", region));
            Some(api)
        }
        Err(error @ Error::NoRegion) => {
            let next = "set AWS_REGION, or run `aws configure set region REGION`, or give --region";
            report.add(&Check::problem("region", error.to_string(), next));
            None
        }
        Err(error) => {
            let next = "correct the region or the endpoint that it names";
            report.add(&Check::problem("endpoints", error.to_string(), next));
            None
        }
    }
}

/// Names only: values may be secret.
fn variables(environment: &Environment) -> String {
    let decides = |name: &str| {
        name.starts_with("AWS_") || name.starts_with("SSM_PLUGIN_") || OTHERS.contains(&name)
    };
    let mut names: Vec<&str> = environment
        .iter()
        .filter(|(_, value)| !value.is_empty())
        .filter_map(|(name, _)| name.to_str())
        .filter(|name| decides(name))
        .collect();
    names.sort_unstable();
    if names.is_empty() {
        "none that decides anything is set".to_owned()
    } else {
        format!("set are {}", names.join(", "))
    }
}

fn files(environment: &Environment, configured: &Configured) -> Check {
    if let Some(missing) = configured.missing_profile() {
        let next = "give a profile that is there, by --profile or AWS_PROFILE";
        return Check::problem("files", missing, next);
    }
    let places = [
        ("AWS_CONFIG_FILE", "~/.aws/config"),
        ("AWS_SHARED_CREDENTIALS_FILE", "~/.aws/credentials"),
    ];
    let shown = places.map(|(variable, standard)| {
        let path = environment.path(variable);
        let path = path.unwrap_or_else(|| environment.expand(standard));
        let is_there = if path.is_file() { "" } else { " (not there)" };
        format!("{}{is_there}", path.display())
    });
    Check::fine("files", shown.join(", "))
}

fn roots(environment: &Environment, has_bundle: bool) -> String {
    let named: Vec<&str> = ROOTS
        .into_iter()
        .filter(|name| environment.bytes(name).is_some())
        .collect();
    match named.as_slice() {
        [] if has_bundle => "those of the profile's ca_bundle".to_owned(),
        [] => "those of the system".to_owned(),
        ["AWS_CA_BUNDLE", ..] => "those in AWS_CA_BUNDLE".to_owned(),
        names => format!("those in {}", names.join(" and ")),
    }
}
