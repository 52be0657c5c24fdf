//! Managed nodes, as Systems Manager knows them.

use serde::{Deserialize, Serialize};

use super::MAXIMUM_PAGES;
use crate::aws::{Api, ApiError};
use crate::network::Limit;
use crate::sanitise;

/// The most nodes that a page may hold (botocore's `MaxResultsEC2Compatible`).
const PAGE: u32 = 50;

/// A filter of DescribeInstanceInformation: a node passes that has one of the values.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct NodeFilter {
    /// `tag:Name`, `InstanceIds`, `PingStatus`, `PlatformTypes`, …
    pub key: String,
    /// At least one.
    pub values: Vec<String>,
}

impl NodeFilter {
    /// A filter by one value.
    pub fn new(key: impl Into<String>, value: impl Into<String>) -> Self {
        Self {
            key: key.into(),
            values: vec![value.into()],
        }
    }
}

/// Whether a node's agent is connected.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum PingStatus {
    /// The agent is connected.
    Online,
    /// The service has not heard of it for some minutes.
    ConnectionLost,
    /// The instance is stopped or terminated.
    #[default]
    Inactive,
}

impl PingStatus {
    /// The service's word.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Online => "Online",
            Self::ConnectionLost => "ConnectionLost",
            Self::Inactive => "Inactive",
        }
    }
}

/// A managed node. Every text may be shown as it is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Node {
    /// `i-…` or `mi-…`.
    pub id: String,
    /// The name that a hybrid node was registered with. Instances of EC2 have theirs in a tag.
    pub name: String,
    /// Whether it can be reached.
    pub state: PingStatus,
    /// The agent's version.
    pub agent_version: String,
    /// `Linux`, `Windows` or `MacOS`.
    pub platform_type: String,
    /// Name and version of its system.
    pub platform: String,
    /// Its private address.
    pub address: String,
    /// The computer's own name.
    pub computer_name: String,
}

impl Node {
    /// Whether it is an instance of EC2: those have tags and private DNS names there.
    pub fn is_ec2(&self) -> bool {
        self.id.starts_with("i-")
    }

    /// Whether its agent is connected.
    pub fn is_online(&self) -> bool {
        self.state == PingStatus::Online
    }
}

/// What was found.
#[derive(Debug, Clone, Default)]
pub struct Nodes {
    /// In the service's order.
    pub nodes: Vec<Node>,
    /// Where the next page begins, if there is one that was not read.
    pub next: Option<String>,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct DescribeRequest<'a> {
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    filters: &'a [NodeFilter],
    max_results: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    next_token: Option<&'a str>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct DescribeAnswer {
    #[serde(default)]
    instance_information_list: Vec<Information>,
    next_token: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Information {
    instance_id: String,
    ping_status: Option<String>,
    agent_version: Option<String>,
    platform_type: Option<String>,
    platform_name: Option<String>,
    platform_version: Option<String>,
    name: Option<String>,
    #[serde(rename = "IPAddress")]
    ip_address: Option<String>,
    computer_name: Option<String>,
}

impl From<Information> for Node {
    fn from(information: Information) -> Self {
        let text = |text: Option<String>| sanitise::line(&text.unwrap_or_default());
        let name = text(information.platform_name);
        let version = text(information.platform_version);
        Self {
            id: sanitise::line(&information.instance_id),
            name: text(information.name),
            state: match information.ping_status.as_deref() {
                Some("Online") => PingStatus::Online,
                Some("ConnectionLost") => PingStatus::ConnectionLost,
                _ => PingStatus::Inactive,
            },
            agent_version: text(information.agent_version),
            platform_type: text(information.platform_type),
            platform: format!("{name} {version}").trim().to_owned(),
            address: text(information.ip_address),
            computer_name: text(information.computer_name),
        }
    }
}

impl Api {
    /// One page of managed nodes (`ssm:DescribeInstanceInformation`), at most 50.
    ///
    /// # Errors
    /// See [`ApiError`].
    pub fn nodes_page(
        &self,
        filters: &[NodeFilter],
        next: Option<&str>,
        limit: &Limit,
    ) -> Result<Nodes, ApiError> {
        let credentials = self.credentials(limit)?;
        let _waiting = self.waiting("DescribeInstanceInformation", limit);
        let request = DescribeRequest {
            filters,
            max_results: PAGE,
            next_token: next,
        };
        let answer: DescribeAnswer = self.ssm(
            "DescribeInstanceInformation",
            "AmazonSSM.DescribeInstanceInformation",
            &request,
            &credentials,
            limit,
        )?;
        let nodes = answer.instance_information_list.into_iter();
        Ok(Nodes {
            nodes: nodes.map(Node::from).collect(),
            next: answer.next_token.filter(|token| !token.is_empty()),
        })
    }

    /// All managed nodes that pass the filters, page by page (`ssm:DescribeInstanceInformation`), up to 2,000; `next` says whether there
    /// are more.
    ///
    /// # Errors
    /// See [`ApiError`].
    pub fn nodes(&self, filters: &[NodeFilter], limit: &Limit) -> Result<Nodes, ApiError> {
        let mut all = Nodes::default();
        for _ in 0..MAXIMUM_PAGES {
            let page = self.nodes_page(filters, all.next.as_deref(), limit)?;
            all.nodes.extend(page.nodes);
            all.next = page.next;
            if all.next.is_none() {
                break;
            }
        }
        Ok(all)
    }
}
