//! What to do about AWS's errors: the one place that adds it to their own words.

use super::refusal::Refusal;

/// What helps against the refusal of a call, if that is known. IAM's actions have the names of service and operation.
pub(super) fn of(service: &str, operation: &str, refusal: &Refusal) -> Option<String> {
    if refusal.is_denial() {
        return Some(format!(
            "these credentials must be allowed the action {service}:{operation}{}",
            resources(operation)
        ));
    }
    if refusal.is_not_connected() {
        return Some(
            "is it running, does its agent run, and does it reach ssmmessages? `session-manager-plugin list` shows what is connected, \
             `session-manager-plugin doctor --target …` looks closer"
                .to_owned(),
        );
    }
    let advice = match refusal.code.as_str() {
        "InvalidDocument" => {
            "is the document's name right, is it in this region, and is it a session document? `aws ssm list-documents --filters \
             Key=DocumentType,Values=Session` shows them"
        }
        "InvalidDocumentVersion" | "InvalidParameters" => {
            "`aws ssm describe-document --name …` shows which parameters the document takes"
        }
        "UnrecognizedClientException" | "InvalidClientTokenId" | "InvalidAccessKeyId" => {
            "the access key is not known in this partition, or was deleted: `aws sts get-caller-identity` tries the same"
        }
        "OptInRequired" => "the account must enable this region first",
        "ClusterNotFoundException" => {
            "is it in this account and region? `aws ecs list-clusters` shows those that are there"
        }
        "ServiceNotFoundException" => {
            "is it in this cluster? `aws ecs list-services --cluster …` shows those that are there"
        }
        "InvalidCommandId" => "was it sent in this account and region, and less than 30 days ago?",
        "EC2InstanceNotFoundException" => "is the instance in this account and region?",
        "EC2InstanceTypeInvalidException" | "EC2InstanceStateInvalidException" => {
            "EC2 Instance Connect takes keys for instances that are running"
        }
        code if code.contains("QuotaExceeded") || code == "LimitExceededException" => {
            "the account has no more of it: end sessions that are not needed (`aws ssm describe-sessions --state Active`), or have the \
             quota raised in Service Quotas"
        }
        code if code.contains("Throttl") || refusal.status == 429 => {
            "the account makes too many calls in this region; it was tried again before this was said"
        }
        _ => return None,
    };
    Some(advice.to_owned())
}

/// On what an action must be allowed, where that is more than the obvious.
fn resources(operation: &str) -> &'static str {
    match operation {
        "StartSession" => ", on the target and on the session document",
        "ResumeSession" | "TerminateSession" => ", on the session",
        "ExecuteCommand" => ", on the cluster and on the task",
        "GenerateDataKey" => ", on the key of the session preferences",
        "AssumeRole" => " on the role, whose trust policy must name them",
        _ => "",
    }
}

/// What helps where credentials have expired. `is_sso`: they come from `aws sso login`, or `aws login`.
pub(super) fn renew(profile: Option<&str>, login: Option<Login>) -> String {
    let option = profile.map_or_else(String::new, |name| format!(" --profile {name}"));
    let whose = profile.map_or_else(
        || "the credentials have expired".to_owned(),
        |name| format!("the credentials of the profile {name} have expired"),
    );
    match login {
        Some(Login::Sso) => format!("{whose}: run `aws sso login{option}`"),
        Some(Login::Console) => format!("{whose}: run `aws login{option}`"),
        None => format!("{whose}: get new ones from where they came from"),
    }
}

/// How somebody logs in to get new credentials.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Login {
    /// `aws sso login`.
    Sso,
    /// `aws login`.
    Console,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn advice(service: &str, operation: &str, code: &str) -> Option<String> {
        let refusal = Refusal {
            status: 400,
            code: code.to_owned(),
            message: "AWS's words".to_owned(),
        };
        of(service, operation, &refusal)
    }

    #[test]
    fn a_denial_names_the_action() {
        for (service, operation, code, action) in [
            (
                "ssm",
                "StartSession",
                "AccessDeniedException",
                "ssm:StartSession",
            ),
            (
                "ec2",
                "DescribeInstances",
                "UnauthorizedOperation",
                "ec2:DescribeInstances",
            ),
            (
                "ec2-instance-connect",
                "SendSSHPublicKey",
                "AuthException",
                "ec2-instance-connect:SendSSHPublicKey",
            ),
            ("sts", "AssumeRole", "AccessDenied", "sts:AssumeRole"),
        ] {
            let text = advice(service, operation, code).unwrap_or_default();
            assert!(text.contains(&format!("action {action}")), "{text}");
        }
    }

    #[test]
    fn what_users_meet_is_explained() {
        for (code, part) in [
            ("TargetNotConnected", "session-manager-plugin list"),
            ("InvalidDocument", "list-documents"),
            ("ServiceQuotaExceededException", "Service Quotas"),
            ("ThrottlingException", "too many calls"),
        ] {
            let text = advice("ssm", "StartSession", code).unwrap_or_default();
            assert!(text.contains(part), "{code}: {text}");
        }
        assert_eq!(advice("ssm", "StartSession", "ValidationException"), None);
    }

    #[test]
    fn who_logs_in_is_told_how() {
        assert!(
            renew(Some("dev"), Some(Login::Sso))
                .ends_with("the profile dev have expired: run `aws sso login --profile dev`")
        );
        assert!(renew(None, Some(Login::Console)).ends_with("run `aws login`"));
        assert!(renew(Some("dev"), None).contains("dev"));
    }
}
