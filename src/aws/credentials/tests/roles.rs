//! Roles of STS.

use std::fs;
use std::time::{Duration, SystemTime};

use serde_json::json;

use super::*;
use crate::aws::test_server::{Asked, Server};

fn sts_answer(operation: &str) -> String {
    format!(
        "<{operation}Response><{operation}Result><Credentials><AccessKeyId>ASIAROLE</AccessKeyId><SecretAccessKey>\
         SECRET/+=</SecretAccessKey>\
         <SessionToken>SECRETtoken==</SessionToken><Expiration>{}</Expiration></Credentials></{operation}Result></{operation}Response>",
        in_an_hour()
    )
}

fn form(asked: &Asked, name: &str) -> String {
    let pairs = asked
        .body
        .split('&')
        .filter_map(|pair| pair.split_once('='));
    let value = pairs
        .into_iter()
        .find(|(found, _)| *found == name)
        .map(|(_, value)| value);
    let value = percent_encoding::percent_decode_str(value.unwrap_or("none"));
    value.decode_utf8().unwrap().into_owned()
}

#[test]
fn a_role_with_a_source_profile() {
    let server = Server::fixed(200, &sts_answer("AssumeRole"));
    let config = format!(
        "[profile base]\n{KEYS}[profile role]\nrole_arn=arn:aws:iam::1:role/x\nsource_profile=base\nexternal_id=a b&c\n\
         role_session_name=me\nduration_seconds=900\n[profile chained]\nrole_arn=arn:y\nsource_profile=role\n\
         [profile self]\nrole_arn=arn:z\nsource_profile=self\n{KEYS}"
    );
    let user = User::new(&config).with("AWS_ENDPOINT_URL_STS", &server.url);
    let found = user.find(Some("role")).unwrap();
    assert_eq!(found.access_key_id, "ASIAROLE");
    assert_eq!(found.secret_access_key.expose(), "SECRET/+=");
    assert_eq!(
        found.session_token.as_ref().unwrap().expose(),
        "SECRETtoken=="
    );
    assert!(found.expires.unwrap() > SystemTime::now() + Duration::from_secs(3000));
    let asked = &server.asked()[0];
    assert!(
        asked
            .header("authorization")
            .contains("Credential=AKIDFILE/")
    );
    assert!(
        asked
            .header("authorization")
            .contains("/eu-west-1/sts/aws4_request")
    );
    assert_eq!(form(asked, "Action"), "AssumeRole");
    assert_eq!(form(asked, "Version"), "2011-06-15");
    assert_eq!(form(asked, "ExternalId"), "a b&c");
    assert_eq!(form(asked, "RoleSessionName"), "me");
    assert_eq!(form(asked, "DurationSeconds"), "900");

    user.find(Some("chained")).unwrap();
    let asked = server.asked();
    assert_eq!(asked.len(), 3);
    assert!(
        asked[2]
            .header("authorization")
            .contains("Credential=ASIAROLE/")
    );
    assert_eq!(asked[2].header("x-amz-security-token"), "SECRETtoken==");
    assert!(form(&asked[2], "RoleSessionName").starts_with("session-manager-plugin-"));
    assert_eq!(key(user.find(Some("self"))), "ASIAROLE");
}

#[test]
fn what_goes_wrong_with_roles() {
    let server = Server::fixed(
        403,
        "<ErrorResponse><Error><Code>AccessDenied</Code><Message>User is not authorized</Message></Error></ErrorResponse>",
    );
    let config = format!(
        "[profile denied]\nrole_arn=a\nsource_profile=base\n[profile base]\n{KEYS}[profile lonely]\nrole_arn=a\n\
         [profile both]\nrole_arn=a\nsource_profile=base\ncredential_source=Environment\n\
         [profile lost]\nrole_arn=a\nsource_profile=nowhere\n[profile a]\nrole_arn=a\nsource_profile=b\n\
         [profile b]\nrole_arn=b\nsource_profile=a\n[profile odd]\nrole_arn=a\ncredential_source=Moon\n\
         [profile empty]\nrole_arn=a\ncredential_source=Environment\n[profile long]\nrole_arn=a\nduration_seconds=1h\n"
    );
    let user = User::new(&config).with("AWS_ENDPOINT_URL_STS", &server.url);
    let cases = [
        ("denied", "User is not authorized (AccessDenied)"),
        ("lonely", "without source_profile"),
        ("both", "one must go"),
        ("lost", "no profile nowhere"),
        ("a", "leads back to it"),
        ("odd", "Ec2InstanceMetadata"),
        ("empty", "whose source has no credentials"),
        ("long", "duration_seconds"),
    ];
    for (profile, expected) in cases {
        let text = user.error(Some(profile));
        assert!(text.contains(expected), "{profile}: {text}");
    }
}

#[test]
fn a_role_with_a_credential_source() {
    let server = Server::fixed(200, &sts_answer("AssumeRole"));
    let user = User::new("[profile p]\nrole_arn=a\ncredential_source=Environment\n")
        .with("AWS_ENDPOINT_URL_STS", &server.url)
        .with("AWS_ACCESS_KEY_ID", "AKIDENV")
        .with("AWS_SECRET_ACCESS_KEY", "SECRET");
    assert_eq!(key(user.find(Some("p"))), "ASIAROLE");
    assert!(
        server.asked()[0]
            .header("authorization")
            .contains("AKIDENV")
    );
}

#[test]
fn p26_a_role_with_a_second_factor_is_taken_from_the_aws_clis_cache() {
    let user = User::new("[profile p]\nrole_arn=arn:r\nsource_profile=x\nmfa_serial=arn:m\n");
    let text = user.error(Some("p"));
    assert!(
        text.contains("aws sts get-caller-identity --profile p"),
        "{text}"
    );
    let name = sha1_hex(r#"{"RoleArn": "arn:r", "SerialNumber": "arn:m"}"#);
    let file = format!(".aws/cli/cache/{name}.json");
    let cached = |expiration: &str| {
        let keys = json!({"AccessKeyId": "ASIACLI", "SecretAccessKey": "SECRET", "SessionToken": "SECRET", "Expiration": expiration});
        user.write(
            &file,
            &json!({"Credentials": keys, "ProviderType": "assume-role"}).to_string(),
        );
    };
    cached(&in_an_hour());
    assert_eq!(key(user.find(Some("p"))), "ASIACLI");
    cached("2020-01-01T00:00:00UTC");
    assert!(user.find(Some("p")).is_err());
}

#[test]
fn web_identity_of_the_environment_and_of_a_profile() {
    let server = Server::fixed(200, &sts_answer("AssumeRoleWithWebIdentity"));
    let user = User::new("").with("AWS_ENDPOINT_URL_STS", &server.url);
    user.write("token", "SECRETjwt\n");
    let file = user.path("token");
    let file = file.to_str().unwrap();
    let user = user.with("AWS_WEB_IDENTITY_TOKEN_FILE", file);
    assert!(user.error(None).contains("AWS_ROLE_ARN"));
    let user = user
        .with("AWS_ROLE_ARN", "arn:r")
        .with("AWS_ROLE_SESSION_NAME", "pod");
    assert_eq!(key(user.find(None)), "ASIAROLE");
    let asked = &server.asked()[0];
    assert_eq!(asked.header("authorization"), "");
    assert_eq!(form(asked, "WebIdentityToken"), "SECRETjwt");
    assert_eq!(form(asked, "RoleSessionName"), "pod");

    user.write(
        ".aws/config",
        &format!("[profile p]\nrole_arn=arn:q\nweb_identity_token_file={file}\n"),
    );
    assert_eq!(key(user.find(Some("p"))), "ASIAROLE");
    assert_eq!(form(&server.asked()[1], "RoleArn"), "arn:q");
    fs::remove_file(file).unwrap();
    assert!(user.error(None).contains("cannot be read"));
}
