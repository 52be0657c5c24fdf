//! Instances, as EC2 knows them: the query protocol, a form out and XML back.

use std::collections::BTreeMap;

use super::MAXIMUM_PAGES;
use crate::aws::service::Service;
use crate::aws::xml::Element;
use crate::aws::{Api, ApiError};
use crate::network::Limit;
use crate::sanitise;

/// The version of EC2's API.
const VERSION: &str = "2016-11-15";
const OPERATION: &str = "DescribeInstances";
/// How many instances a page may hold. EC2 gives up to 1,000, which is more than an answer may hold here.
const PAGE: &str = "50";

/// A filter of DescribeInstances: an instance passes that has one of the values (at most 200).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InstanceFilter {
    /// `private-ip-address`, `private-dns-name`, `instance-id`, `tag:Name`, …
    pub name: String,
    /// One to 200 values.
    pub values: Vec<String>,
}

impl InstanceFilter {
    /// A filter by one value.
    pub fn new(name: impl Into<String>, value: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            values: vec![value.into()],
        }
    }
}

/// An instance of EC2. Every text may be shown as it is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Instance {
    /// `i-…`.
    pub id: String,
    /// `running`, `stopped`, …
    pub state: String,
    /// Its private address.
    pub private_address: String,
    /// Its private DNS name.
    pub private_dns_name: String,
    /// Where it is: `eu-central-1a`.
    pub availability_zone: String,
    /// Its tags.
    pub tags: BTreeMap<String, String>,
}

impl Api {
    /// Instances of EC2 that pass the filters (`ec2:DescribeInstances`), page by page, up to 40 pages.
    ///
    /// # Errors
    /// See [`ApiError`].
    pub fn ec2_instances(
        &self,
        filters: &[InstanceFilter],
        limit: &Limit,
    ) -> Result<Vec<Instance>, ApiError> {
        let credentials = self.credentials(limit)?;
        let _waiting = self.waiting(OPERATION, limit);
        let mut form = vec![
            ("Action".to_owned(), OPERATION.to_owned()),
            ("Version".to_owned(), VERSION.to_owned()),
            ("MaxResults".to_owned(), PAGE.to_owned()),
        ];
        for (filter, number) in filters.iter().zip(1..) {
            form.push((format!("Filter.{number}.Name"), filter.name.clone()));
            for (value, index) in filter.values.iter().zip(1..) {
                form.push((format!("Filter.{number}.Value.{index}"), value.clone()));
            }
        }
        let mut found = Vec::new();
        let mut next = String::new();
        for _ in 0..MAXIMUM_PAGES {
            let mut page = form.clone();
            if !next.is_empty() {
                page.push(("NextToken".to_owned(), next));
            }
            let answer = self.query(Service::Ec2, OPERATION, &page, &credentials, limit)?;
            found.extend(instances(&answer));
            next = answer.text("nextToken").unwrap_or_default().to_owned();
            if next.is_empty() {
                break;
            }
        }
        Ok(found)
    }
}

/// The instances of an answer. The reservations that hold them say nothing that is needed.
fn instances(answer: &Element) -> impl Iterator<Item = Instance> {
    let reservations = answer.child("reservationSet").into_iter();
    reservations
        .flat_map(|set| set.children("item"))
        .flat_map(|reservation| reservation.child("instancesSet"))
        .flat_map(|set| set.children("item"))
        .map(|item| {
            let text = |element: Option<&Element>, name: &str| {
                let found = element.and_then(|element| element.text(name));
                sanitise::line(found.unwrap_or_default())
            };
            let mut tags = BTreeMap::new();
            let set = item.child("tagSet").into_iter();
            for tag in set.flat_map(|set| set.children("item")) {
                tags.insert(text(Some(tag), "key"), text(Some(tag), "value"));
            }
            Instance {
                id: text(Some(item), "instanceId"),
                state: text(item.child("instanceState"), "name"),
                private_address: text(Some(item), "privateIpAddress"),
                private_dns_name: text(Some(item), "privateDnsName"),
                availability_zone: text(item.child("placement"), "availabilityZone"),
                tags,
            }
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn instances_are_read_from_ec2s_answer() {
        let document = r#"<?xml version="1.0" encoding="UTF-8"?>
<DescribeInstancesResponse xmlns="http://ec2.amazonaws.com/doc/2016-11-15/">
  <requestId>8f7724cf-496f-496e-8fe3-example</requestId>
  <reservationSet>
    <item><reservationId>r-1</reservationId><groupSet/>
      <instancesSet>
        <item>
          <instanceId>i-1</instanceId><instanceState><code>16</code><name>running</name></instanceState>
          <privateDnsName>ip-10-0-0-1.ec2.internal</privateDnsName><dnsName/><reason/>
          <placement><availabilityZone>us-east-1a</availabilityZone><groupName/></placement>
          <privateIpAddress>10.0.0.1</privateIpAddress>
          <tagSet><item><key>Name</key><value>a &lt;b&gt;</value></item><item><key>Role</key><value/></item></tagSet>
        </item>
        <item><instanceId>i-2</instanceId></item>
      </instancesSet>
    </item>
    <item><instancesSet><item><instanceId>i-3</instanceId></item></instancesSet></item>
  </reservationSet>
</DescribeInstancesResponse>"#;
        let answer = Element::parse(document).expect("good XML");
        let found: Vec<Instance> = instances(&answer).collect();
        assert_eq!(
            found[0],
            Instance {
                id: "i-1".to_owned(),
                state: "running".to_owned(),
                private_address: "10.0.0.1".to_owned(),
                private_dns_name: "ip-10-0-0-1.ec2.internal".to_owned(),
                availability_zone: "us-east-1a".to_owned(),
                tags: BTreeMap::from([
                    ("Name".to_owned(), "a <b>".to_owned()),
                    ("Role".to_owned(), String::new()),
                ]),
            }
        );
        let ids: Vec<&str> = found.iter().map(|instance| instance.id.as_str()).collect();
        assert_eq!(ids, ["i-1", "i-2", "i-3"]);
    }
}
