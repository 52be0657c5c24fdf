//! EC2 Instance Connect: public keys that are valid for a minute.

use serde::{Deserialize, Serialize};

use crate::aws::service::Service;
use crate::aws::{Api, ApiError};
use crate::network::Limit;

const OPERATION: &str = "SendSSHPublicKey";

impl Api {
    /// Puts a public key where the sshd of an instance takes it for this user, for 60 seconds (`ec2-instance-connect:SendSSHPublicKey`).
    ///
    /// # Errors
    /// See [`ApiError`].
    pub fn send_ssh_public_key(
        &self,
        instance: &str,
        user: &str,
        key: &str,
        limit: &Limit,
    ) -> Result<(), ApiError> {
        #[derive(Serialize)]
        #[serde(rename_all = "PascalCase")]
        struct SendSshPublicKeyRequest<'a> {
            instance_id: &'a str,
            #[serde(rename = "InstanceOSUser")]
            user: &'a str,
            #[serde(rename = "SSHPublicKey")]
            key: &'a str,
        }
        #[derive(Deserialize)]
        #[serde(rename_all = "PascalCase")]
        struct SendSshPublicKeyAnswer {
            success: Option<bool>,
        }
        let request = SendSshPublicKeyRequest {
            instance_id: instance,
            user,
            key,
        };
        let credentials = self.credentials(limit)?;
        let _waiting = self.waiting(OPERATION, limit);
        let answer: SendSshPublicKeyAnswer = self.json(
            Service::Ec2InstanceConnect,
            OPERATION,
            "AWSEC2InstanceConnectService.SendSSHPublicKey",
            &request,
            (&credentials, crate::aws::call::ATTEMPTS),
            limit,
        )?;
        match answer.success {
            Some(false) => Err(ApiError::Malformed(
                "says that the key was not taken",
                OPERATION,
            )),
            _ => Ok(()),
        }
    }
}
