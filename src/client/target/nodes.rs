//! Managed nodes by name.
//!
//! Systems Manager is asked first: it knows tags, computers' names, hybrid nodes' names and addresses, and who is online. It can only
//! filter by tags, so for the others a page of all nodes is read, and further ones where there are more. EC2 is asked for private DNS
//! names, which Systems Manager does not know, for addresses in a fleet of more than a page, and for tags where Systems Manager may not be
//! asked.

use std::net::IpAddr;

use super::error::{NotFound, Sought, TargetError};
use super::resolved::Target;
use crate::aws::api::{InstanceFilter, Node, NodeFilter, Nodes, PingStatus};
use crate::aws::{Api, ApiError};
use crate::network::Limit;

/// Nodes that have a tag.
pub(super) fn by_tag(
    api: &Api,
    key: &str,
    value: &str,
    limit: &Limit,
) -> Result<Target, TargetError> {
    let mut search = NodeSearch::new(api, Sought::Tag(format!("{key}={value}")), limit);
    let found = search.tagged(key, value)?;
    match search.choose(found)? {
        Some(target) => Ok(target),
        None => {
            search.note_others()?;
            Err(search.not_found())
        }
    }
}

/// Nodes with this name of any kind.
pub(super) fn by_name(api: &Api, name: &str, limit: &Limit) -> Result<Target, TargetError> {
    let mut search = NodeSearch::new(api, Sought::Name(name.to_owned()), limit);
    let address: Option<IpAddr> = name.parse().ok();
    if address.is_none() {
        let found = search.tagged("Name", name)?;
        if let Some(target) = search.choose(found)? {
            return Ok(target);
        }
    }
    let first = match api.nodes_page(&[], None, limit) {
        Err(error) if is_denied(&error) => {
            search.note(format!("the managed nodes ({error})"));
            Nodes::default()
        }
        result => result?,
    };
    let is_all = first.next.is_none();
    let mut seen = first.nodes;
    // In a fleet of more than a page, EC2 finds by its address or DNS name what would take many pages here.
    let known_to_ec2 = address.is_some() || is_dns_name(name);
    if is_all || !known_to_ec2 {
        let rest = search.rest(first.next)?;
        seen.extend(rest);
        let found = search.called(name, &seen);
        if let Some(target) = search.choose(found)? {
            return Ok(target);
        }
    }
    if known_to_ec2 {
        let found = search.in_ec2(name, address)?;
        if let Some(target) = search.choose(found)? {
            return Ok(target);
        }
        if !is_all {
            // A hybrid node may have it.
            seen = search.all()?;
            let found = search.called(name, &seen);
            if let Some(target) = search.choose(found)? {
                return Ok(target);
            }
        }
    }
    search.others = seen.into_iter().filter(Node::is_online).collect();
    Err(search.not_found())
}

/// `ip-10-0-0-1.eu-central-1.compute.internal` and the like: they have dots, or begin as EC2's do.
fn is_dns_name(name: &str) -> bool {
    name.contains('.') || name.starts_with("ip-")
}

fn is_denied(error: &ApiError) -> bool {
    matches!(error, ApiError::Refused { refusal, .. } if refusal.is_denial())
}

/// One search, and what it has seen.
struct NodeSearch<'a> {
    api: &'a Api,
    sought: Sought,
    limit: &'a Limit,
    lookups: Vec<String>,
    offline: Vec<Node>,
    others: Vec<Node>,
}

impl<'a> NodeSearch<'a> {
    fn new(api: &'a Api, sought: Sought, limit: &'a Limit) -> Self {
        Self {
            api,
            sought,
            limit,
            lookups: Vec::new(),
            offline: Vec::new(),
            others: Vec::new(),
        }
    }

    fn note(&mut self, lookup: String) {
        self.lookups.push(lookup);
    }

    /// By a tag. Where Systems Manager may not be asked, EC2: it knows what runs, not what is online.
    fn tagged(&mut self, key: &str, value: &str) -> Result<Vec<Node>, TargetError> {
        let filter = NodeFilter::new(format!("tag:{key}"), value);
        let denied = match self.api.nodes(&[filter], self.limit) {
            Ok(found) => {
                self.note(format!("the tag {key} (DescribeInstanceInformation)"));
                return Ok(found.nodes);
            }
            Err(error) if is_denied(&error) => error,
            Err(error) => return Err(error.into()),
        };
        self.note(format!("the tag {key} ({denied})"));
        let filters = [
            InstanceFilter::new(format!("tag:{key}"), value),
            InstanceFilter::new("instance-state-name", "running"),
        ];
        let found = self
            .api
            .ec2_instances(&filters, self.limit)
            .map_err(|_| denied)?;
        self.note(format!("the tag {key} (EC2's DescribeInstances)"));
        Ok(found.into_iter().map(unasked).collect())
    }

    /// The pages that follow.
    fn rest(&mut self, mut next: Option<String>) -> Result<Vec<Node>, TargetError> {
        let mut nodes = Vec::new();
        for _ in 1..crate::aws::api::MAXIMUM_PAGES {
            let Some(token) = next else { break };
            let page = self.api.nodes_page(&[], Some(&token), self.limit)?;
            nodes.extend(page.nodes);
            next = page.next;
        }
        Ok(nodes)
    }

    fn all(&mut self) -> Result<Vec<Node>, TargetError> {
        Ok(self.api.nodes(&[], self.limit)?.nodes)
    }

    /// Nodes whose own name or address is this.
    fn called(&mut self, name: &str, nodes: &[Node]) -> Vec<Node> {
        let count = nodes.len();
        self.note(format!(
            "computers' names, hybrid nodes' names and private addresses of {count} managed nodes"
        ));
        let is_called = |node: &&Node| is_called(node, name);
        nodes.iter().filter(is_called).cloned().collect()
    }

    /// Instances whose private address or DNS name at EC2 is this.
    fn in_ec2(&mut self, name: &str, address: Option<IpAddr>) -> Result<Vec<Node>, TargetError> {
        let (filter, what) = match address {
            Some(_) => ("private-ip-address", "private addresses"),
            None => ("private-dns-name", "private DNS names"),
        };
        let found = match self
            .api
            .ec2_instances(&[InstanceFilter::new(filter, name)], self.limit)
        {
            Err(error) if is_denied(&error) => {
                self.note(format!("{what} in EC2 ({error})"));
                return Ok(Vec::new());
            }
            result => result?,
        };
        self.note(format!("{what} (EC2's DescribeInstances)"));
        if found.is_empty() {
            return Ok(Vec::new());
        }
        let ids = NodeFilter {
            key: "InstanceIds".to_owned(),
            values: found.iter().map(|instance| instance.id.clone()).collect(),
        };
        match self.api.nodes(&[ids], self.limit) {
            Ok(managed) if managed.nodes.is_empty() => {
                let unmanaged = found.into_iter().map(|instance| Node {
                    state: PingStatus::Inactive,
                    ..unasked(instance)
                });
                Ok(unmanaged.collect())
            }
            Ok(managed) => Ok(managed.nodes),
            Err(error) if is_denied(&error) => Ok(found.into_iter().map(unasked).collect()),
            Err(error) => Err(error.into()),
        }
    }

    /// The only one that is online; those that are not are noted.
    fn choose(&mut self, found: Vec<Node>) -> Result<Option<Target>, TargetError> {
        let (mut online, offline): (Vec<Node>, Vec<Node>) =
            found.into_iter().partition(Node::is_online);
        match (online.pop(), online.is_empty()) {
            (Some(node), true) => Ok(Some(Target::of_node(node, &self.sought.to_string()))),
            (Some(node), false) => {
                online.push(node);
                Err(TargetError::several(&self.sought, &online))
            }
            (None, _) => {
                self.offline.extend(offline);
                Ok(None)
            }
        }
    }

    /// What else is there: as much as one call tells.
    fn note_others(&mut self) -> Result<(), TargetError> {
        match self.api.nodes_page(&[], None, self.limit) {
            Ok(page) => self.others = page.nodes.into_iter().filter(Node::is_online).collect(),
            Err(error) => log::info!("{error}"),
        }
        Ok(())
    }

    fn not_found(self) -> TargetError {
        TargetError::NotFound(Box::new(NotFound {
            sought: self.sought.clone(),
            lookups: self.lookups,
            offline: self.offline,
            others: self.others,
        }))
    }
}

/// A node that only EC2 was asked about. It counts as online; StartSession fails if it is not.
fn unasked(instance: crate::aws::api::Instance) -> Node {
    Node {
        computer_name: instance.tags.get("Name").cloned().unwrap_or_default(),
        address: instance.private_address,
        state: PingStatus::Online,
        id: instance.id,
        ..Node::default()
    }
}

/// Whether a node says that it is called so: by its address, or by its name, whole or up to the first dot, in letters of any size.
fn is_called(node: &Node, name: &str) -> bool {
    let is_computer = |computer: &str| {
        let first = computer.split('.').next().unwrap_or_default();
        !computer.is_empty()
            && (computer.eq_ignore_ascii_case(name) || first.eq_ignore_ascii_case(name))
    };
    node.address == name || node.name == name || is_computer(&node.computer_name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_is_called_by_what_it_says_of_itself() {
        let node = Node {
            id: "mi-1".to_owned(),
            name: "Till".to_owned(),
            computer_name: "Kasse-7.shop.example".to_owned(),
            address: "10.0.0.7".to_owned(),
            ..Node::default()
        };
        for name in ["Till", "kasse-7", "KASSE-7.shop.example", "10.0.0.7"] {
            assert!(is_called(&node, name), "{name}");
        }
        for name in ["till", "kasse", "shop", "10.0.0", ""] {
            assert!(!is_called(&node, name), "{name}");
        }
        assert!(!is_called(&Node::default(), "x"));
    }
}
