//! What can be reached through the sandbox: managed nodes and tasks of ECS. Without any, every identifier is a node that is online.

use std::path::PathBuf;

/// A managed node, as DescribeInstanceInformation and DescribeInstances tell of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// `i-…` for an instance of EC2, `mi-…` for a hybrid node.
    pub id: String,
    /// Key and value; `Name` is one of them.
    pub tags: Vec<(String, String)>,
    /// Whether its agent is connected.
    pub state: TargetState,
    /// What it runs.
    pub platform: Platform,
    /// Its agent's version.
    pub agent_version: String,
    /// Its private address.
    pub address: String,
    /// Its private DNS name, as EC2 knows it.
    pub private_dns_name: String,
    /// The computer's own name.
    pub computer_name: String,
    /// The name that a hybrid node was registered with.
    pub hybrid_name: Option<String>,
    /// Whether StartSession on it is denied.
    pub is_denied: bool,
    /// How commands of Run Command end on it.
    pub run: RunBehaviour,
}

/// Whether a node's agent is connected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TargetState {
    /// Connected.
    Online,
    /// Not heard of lately.
    ConnectionLost,
    /// Not heard of for long.
    Inactive,
    /// Known to EC2 alone: no agent has ever registered.
    Unmanaged,
}

impl TargetState {
    /// The PingStatus of DescribeInstanceInformation; nothing for what it does not list.
    pub fn ping_status(self) -> Option<&'static str> {
        match self {
            Self::Online => Some("Online"),
            Self::ConnectionLost => Some("ConnectionLost"),
            Self::Inactive => Some("Inactive"),
            Self::Unmanaged => None,
        }
    }
}

/// What a node runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Platform {
    /// AWS-RunShellScript.
    Linux,
    /// AWS-RunPowerShellScript.
    Windows,
}

impl Platform {
    /// PlatformType, PlatformName and PlatformVersion.
    pub fn words(self) -> [&'static str; 3] {
        match self {
            Self::Linux => ["Linux", "Amazon Linux", "2023"],
            Self::Windows => [
                "Windows",
                "Microsoft Windows Server 2022 Datacenter",
                "10.0.20348",
            ],
        }
    }
}

/// How a command of Run Command ends on a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RunBehaviour {
    /// It is run, by `sh`, whatever the platform.
    Run,
    /// It ends with this code at once.
    Fail(i32),
    /// It never ends.
    Hang,
}

impl Target {
    /// An online instance of EC2 with the tag `Name`; addresses and names are made from its number.
    pub fn new(number: u16, name: &str) -> Self {
        let [high, low] = number.to_be_bytes();
        Self {
            id: format!("i-0{number:016x}"),
            tags: vec![("Name".to_owned(), name.to_owned())],
            state: TargetState::Online,
            platform: Platform::Linux,
            agent_version: "3.3.0.0".into(),
            address: format!("10.0.{high}.{low}"),
            private_dns_name: format!("ip-10-0-{high}-{low}.eu-central-1.compute.internal"),
            computer_name: format!("host-{number}.example.internal"),
            hybrid_name: None,
            is_denied: false,
            run: RunBehaviour::Run,
        }
    }

    /// Whether it is an instance of EC2.
    pub fn is_ec2(&self) -> bool {
        self.id.starts_with("i-")
    }

    /// A tag's value.
    pub fn tag(&self, key: &str) -> Option<&str> {
        let tag = self.tags.iter().find(|(name, _)| name == key)?;
        Some(&tag.1)
    }
}

/// A task of ECS.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Task {
    /// The cluster's name.
    pub cluster: String,
    /// The task's id.
    pub id: String,
    /// The service that started it.
    pub service: Option<String>,
    /// Its containers' names.
    pub containers: Vec<String>,
    /// PROVISIONING, RUNNING, STOPPED, …
    pub status: String,
    /// Whether ECS Exec is enabled.
    pub exec_enabled: bool,
}

/// A public key that EC2 Instance Connect pushed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PushedKey {
    /// The instance.
    pub instance: String,
    /// The user there.
    pub user: String,
    /// As in `authorized_keys`.
    pub key: String,
}

/// Where pushed keys are put for a real sshd: an `authorized_keys` file, from which each goes after its time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuthorizedKeys {
    /// The file.
    pub path: PathBuf,
    /// How long a key stays. EC2's: 60 s.
    pub lifetime: std::time::Duration,
}
