//! `ssh-proxy` and `ssh-config`.

use clap::Args;

use super::account::Account;
use super::connection::TargetOptions;
use super::port_forward::remote_port;
use super::start::{Start, parameters_of};
use crate::environment::Environment;
use crate::error::Error;

/// What `ssh-proxy` is asked.
#[derive(Debug, Clone, Args)]
#[command(after_help = "Examples:
  ssh -o ProxyCommand='session-manager-plugin ssh-proxy --target %h --port %p' ec2-user@web-1
  ssh -o ProxyCommand='session-manager-plugin ssh-proxy --target %h --push-key --user %r' ec2-user@web-1

`session-manager-plugin ssh-config` prints what ~/.ssh/config needs for it.")]
pub struct SshProxy {
    /// Where.
    #[command(flatten)]
    pub connection: TargetOptions,
    /// The target's SSH port
    #[arg(long, default_value_t = 22, value_parser = remote_port)]
    port: u16,
    /// The key with which ssh comes.
    #[command(flatten)]
    pub push: PushKey,
}

impl SshProxy {
    pub(super) fn start(&self, environment: &Environment) -> Result<Start, Error> {
        Ok(Start {
            target: self.connection.target(environment)?,
            starting: self.connection.starting.clone(),
            document_name: Some("AWS-StartSSHSession".to_owned()),
            parameters: parameters_of([("portNumber", self.port.to_string())]),
            ecs_command: None,
        })
    }
}

/// A public key that is sent by EC2 Instance Connect.
#[derive(Debug, Clone, Args)]
pub struct PushKey {
    /// Send a public key to the instance first, by EC2 Instance Connect, where it is good for a minute: FILE, or the first key of the ssh
    /// agent, or ~/.ssh/id_*.pub
    #[arg(long, value_name = "FILE", num_args = 0..=1, require_equals = true, default_missing_value = "")]
    push_key: Option<String>,
    /// The user over there
    #[arg(long)]
    pub user: Option<String>,
}

/// Which key is sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Key {
    /// This file's.
    File(String),
    /// Whatever ssh will come with.
    Any,
}

impl PushKey {
    /// The key, if one is to be sent.
    pub fn key(&self) -> Option<Key> {
        self.push_key.as_ref().map(|file| match file.as_str() {
            "" => Key::Any,
            file => Key::File(file.to_owned()),
        })
    }
}

/// What `ssh-config` is asked.
#[derive(Debug, Clone, Args)]
#[command(after_help = "Examples:
  session-manager-plugin ssh-config >> ~/.ssh/config
  session-manager-plugin ssh-config --user ec2-user --push-key --profile work 'web-*' 'db-*' >> ~/.ssh/config")]
pub struct SshConfig {
    /// The hosts for which it counts, as patterns of ssh: names of targets; ids of nodes without it
    #[arg(value_name = "HOST-PATTERN")]
    pub patterns: Vec<String>,
    /// The key with which ssh comes.
    #[command(flatten)]
    pub push: PushKey,
    /// Where.
    #[command(flatten)]
    pub account: Account,
}
