//! DescribeInstanceInformation, and the same nodes as EC2's DescribeInstances sees them.

use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};
use uuid::Uuid;

use super::{Answer, ApiError};
use crate::http::Response;
use crate::sandbox::Shared;
use crate::target::Target;
use crate::threads::lock;

/// How many nodes a page has when nothing is said (SSM's own default is not documented; 50 is its maximum).
const PAGE: usize = 50;

/// One page of `all`, and the token of the next.
pub(super) fn page<T>(
    all: Vec<T>,
    token: Option<&str>,
    size: usize,
) -> Result<(Vec<T>, Option<String>), ApiError> {
    let start: usize = match token.filter(|token| !token.is_empty()) {
        None => 0,
        Some(token) => token
            .strip_prefix("page-")
            .and_then(|number| number.parse().ok())
            .ok_or_else(|| {
                ApiError::new("InvalidNextToken", "The specified token is not valid.")
            })?,
    };
    let end = start.saturating_add(size);
    let next = (end < all.len()).then(|| format!("page-{end}"));
    Ok((all.into_iter().skip(start).take(size).collect(), next))
}

pub(super) fn describe_information(input: &Value, shared: &Shared) -> Answer {
    let mut filters = Vec::new();
    for filter in input
        .get("Filters")
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
    {
        filters.push(Filter::parse(filter, "Key", "Values")?);
    }
    let old = input.get("InstanceInformationFilterList");
    for filter in old.and_then(Value::as_array).into_iter().flatten() {
        filters.push(Filter::parse(filter, "key", "valueSet")?);
    }
    let size = input
        .get("MaxResults")
        .and_then(Value::as_u64)
        .unwrap_or(PAGE as u64);
    if !(5..=50).contains(&size) {
        return Err(ApiError::new(
            "ValidationException",
            "Value at 'maxResults' failed to satisfy constraint: between 5 and 50",
        ));
    }
    let nodes: Vec<Value> = lock(&shared.targets)
        .iter()
        .filter(|target| filters.iter().all(|filter| filter.takes(target)))
        .filter_map(information)
        .collect();
    let token = input.get("NextToken").and_then(Value::as_str);
    let (nodes, next) = page(nodes, token, usize::try_from(size).unwrap_or(PAGE))?;
    let mut answer = json!({ "InstanceInformationList": nodes });
    if let Some(next) = next {
        answer["NextToken"] = json!(next);
    }
    Ok(answer)
}

fn information(target: &Target) -> Option<Value> {
    let [platform, platform_name, platform_version] = target.platform.words();
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |now| now.as_secs());
    let mut node = json!({
        "InstanceId": target.id,
        "PingStatus": target.state.ping_status()?,
        "LastPingDateTime": now,
        "AgentVersion": target.agent_version,
        "IsLatestVersion": false,
        "PlatformType": platform,
        "PlatformName": platform_name,
        "PlatformVersion": platform_version,
        "ResourceType": if target.is_ec2() { "EC2Instance" } else { "ManagedInstance" },
        "IPAddress": target.address,
        "ComputerName": target.computer_name,
    });
    if let Some(name) = &target.hybrid_name {
        node["Name"] = json!(name);
    }
    Some(node)
}

struct Filter {
    key: String,
    values: Vec<String>,
}

impl Filter {
    fn parse(filter: &Value, key: &str, values: &str) -> Result<Self, ApiError> {
        let invalid = || ApiError::new("InvalidFilterKey", "The specified key isn't valid.");
        let key = filter
            .get(key)
            .and_then(Value::as_str)
            .ok_or_else(invalid)?;
        let known = [
            "InstanceIds",
            "AgentVersion",
            "PingStatus",
            "PlatformTypes",
            "ResourceType",
            "tag-key",
        ];
        if !known.contains(&key) && !key.starts_with("tag:") {
            return Err(invalid());
        }
        let values = filter
            .get(values)
            .and_then(Value::as_array)
            .ok_or_else(invalid)?;
        Ok(Self {
            key: key.to_owned(),
            values: values
                .iter()
                .filter_map(Value::as_str)
                .map(str::to_owned)
                .collect(),
        })
    }

    fn takes(&self, target: &Target) -> bool {
        let is = |text: &str| self.values.iter().any(|value| value == text);
        match self.key.as_str() {
            "InstanceIds" => is(&target.id),
            "AgentVersion" => is(&target.agent_version),
            "PingStatus" => target.state.ping_status().is_some_and(is),
            "PlatformTypes" => is(target.platform.words()[0]),
            "ResourceType" => is(if target.is_ec2() {
                "EC2Instance"
            } else {
                "ManagedInstance"
            }),
            "tag-key" => target.tags.iter().any(|(key, _)| is(key)),
            other => {
                let key = other.strip_prefix("tag:").unwrap_or_default();
                target.tag(key).is_some_and(is)
            }
        }
    }
}

/// DescribeInstances of EC2's query protocol.
pub(super) fn describe_instances(
    form: &[(String, String)],
    shared: &Shared,
) -> Result<Response, ApiError> {
    let field = |name: &str| {
        form.iter()
            .find_map(|(key, value)| (key == name).then_some(value.as_str()))
    };
    let filters = ec2_filters(form);
    let ids: Vec<&str> = form
        .iter()
        .filter(|(key, _)| key.starts_with("InstanceId."))
        .map(|(_, value)| value.as_str())
        .collect();
    let targets = lock(&shared.targets);
    if let Some(unknown) = ids
        .iter()
        .find(|id| !targets.iter().any(|target| target.id == **id))
    {
        return Err(ApiError::new(
            "InvalidInstanceID.NotFound",
            format!("The instance ID '{unknown}' does not exist"),
        ));
    }
    let mut found = Vec::new();
    for target in targets.iter().filter(|target| target.is_ec2()) {
        if !ids.is_empty() && !ids.contains(&target.id.as_str()) {
            continue;
        }
        let mut is_wanted = true;
        for (name, values) in &filters {
            is_wanted &= ec2_filter(target, name, values)?;
        }
        if is_wanted {
            found.push(reservation(target));
        }
    }
    let size = field("MaxResults")
        .and_then(|text| text.parse().ok())
        .unwrap_or(1000);
    let (found, next) = page(found, field("NextToken"), size)?;
    let next = next.map_or_else(String::new, |next| format!("<nextToken>{next}</nextToken>"));
    let body = format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<DescribeInstancesResponse xmlns=\"http://ec2.amazonaws.com/doc/2016-11-15/\">\
         <requestId>{}</requestId><reservationSet>{}</reservationSet>{next}</DescribeInstancesResponse>",
        Uuid::new_v4(),
        found.concat(),
    );
    Ok(Response::new(200, "text/xml;charset=UTF-8", body))
}

/// `Filter.1.Name=tag:Name`, `Filter.1.Value.1=web`.
fn ec2_filters(form: &[(String, String)]) -> Vec<(&str, Vec<&str>)> {
    let names = form.iter().filter_map(|(key, name)| {
        let number = key.strip_prefix("Filter.")?.strip_suffix(".Name")?;
        Some((number, name.as_str()))
    });
    names
        .map(|(number, name)| {
            let prefix = format!("Filter.{number}.Value.");
            let values = form.iter().filter(|(key, _)| key.starts_with(&prefix));
            (name, values.map(|(_, value)| value.as_str()).collect())
        })
        .collect()
}

fn ec2_filter(target: &Target, name: &str, values: &[&str]) -> Result<bool, ApiError> {
    let is = |text: &str| values.contains(&text);
    Ok(match name {
        "instance-state-name" => is("running"),
        "instance-id" => is(&target.id),
        "private-ip-address" | "network-interface.addresses.private-ip-address" => {
            is(&target.address)
        }
        "private-dns-name" => is(&target.private_dns_name),
        "tag-key" => target.tags.iter().any(|(key, _)| is(key)),
        other => match other.strip_prefix("tag:") {
            Some(key) => target.tag(key).is_some_and(is),
            None => {
                return Err(ApiError::new(
                    "InvalidParameterValue",
                    format!("The filter '{other}' is invalid"),
                ));
            }
        },
    })
}

fn reservation(target: &Target) -> String {
    let tags: String = target
        .tags
        .iter()
        .map(|(key, value)| {
            format!(
                "<item><key>{}</key><value>{}</value></item>",
                escape(key),
                escape(value)
            )
        })
        .collect();
    format!(
        "<item><reservationId>r-{0}</reservationId><ownerId>111122223333</ownerId><instancesSet><item><instanceId>{0}</instanceId>\
         <instanceState><code>16</code><name>running</name></instanceState><privateDnsName>{1}</privateDnsName>\
         <placement><availabilityZone>eu-central-1a</availabilityZone></placement><privateIpAddress>{2}</privateIpAddress>\
         <tagSet>{tags}</tagSet></item></instancesSet></item>",
        target.id,
        escape(&target.private_dns_name),
        escape(&target.address),
    )
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
}

/// An error as EC2 words it.
pub(super) fn ec2_error(failed: &ApiError) -> Response {
    let body = format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<Response><Errors><Error><Code>{}</Code><Message>{}</Message></Error></Errors>\
         <RequestID>{}</RequestID></Response>",
        escape(&failed.code),
        escape(&failed.message),
        Uuid::new_v4(),
    );
    Response::new(failed.status, "text/xml;charset=UTF-8", body)
}
