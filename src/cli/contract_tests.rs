use std::ffi::OsString;

use super::super::Invocation;
use super::*;

const RESPONSE: &str = r#"{"SessionId":"s-1","TokenValue":"very-secret","StreamUrl":"wss://h/x"}"#;

fn parse<const N: usize>(
    arguments: &[&str],
    variables: [(&str, &str); N],
) -> Result<Invocation, Error> {
    let arguments: Vec<OsString> = arguments.iter().map(OsString::from).collect();
    Invocation::parse(&arguments, &mut Environment::from(variables))
}

fn call<const N: usize>(arguments: &[&str], variables: [(&str, &str); N]) -> Call {
    match parse(arguments, variables).expect("a good call") {
        Invocation::Call(call) => *call,
        other => panic!("no call but {other:?}"),
    }
}

fn error(arguments: &[&str]) -> String {
    let error = parse(arguments, []).expect_err("a bad call");
    assert_eq!(error.exit_code(), 1);
    error.to_string()
}

#[test]
fn every_number_of_arguments_is_right() {
    let plain = Call {
        session: StartedSession {
            session_id: "s-1".to_owned(),
            stream_url: "wss://h/x".to_owned(),
            token: Secret::new("very-secret".to_owned()),
        },
        region: "eu-north-1".to_owned(),
        profile: None,
        legacy: true,
        target: None,
        stderr_to_stdout: false,
        endpoint: None,
        caller_waits: false,
    };
    let all = [
        RESPONSE,
        "eu-north-1",
        "StartSession",
        "work",
        r#"{"Target":"i-1"}"#,
        "https://ssm.eu-north-1.amazonaws.com",
        "beyond",
        "six",
    ];
    assert_eq!(call(&all[..3], []), plain);
    let four = Call {
        profile: Some("work".to_owned()),
        legacy: false,
        ..plain
    };
    assert_eq!(call(&all[..4], []), four);
    let five = Call {
        target: Some("i-1".to_owned()),
        ..four
    };
    assert_eq!(call(&all[..5], []), five);
    let six = Call {
        endpoint: Some(all[5].to_owned()),
        ..five
    };
    assert_eq!(call(&all[..6], []), six);
    assert_eq!(call(&all, []), six);
}

#[test]
fn an_empty_profile_is_no_profile_but_no_old_caller() {
    let call = call(&[RESPONSE, "r", "StartSession", "", "", "wss://h/x"], []);
    assert_eq!(call.profile, None);
    assert!(!call.legacy);
    assert_eq!(call.endpoint.as_deref(), Some("wss://h/x"));
}

#[test]
fn the_response_may_stand_in_a_variable_named_by_prefix() {
    for name in [
        "AWS_SSM_START_SESSION_RESPONSE",
        "AWS_SSM_START_SESSION_RESPONSE_7f",
    ] {
        let call = call(&[name, "r", "StartSession"], [(name, RESPONSE)]);
        assert_eq!(call.session.session_id, "s-1");
        assert!(call.caller_waits);
        let arguments = [name, "r", "StartSession"].map(OsString::from);
        assert_eq!(response_variable(&arguments), Some(name));
    }
    let unset = error(&["AWS_SSM_START_SESSION_RESPONSE", "r", "StartSession"]);
    assert!(unset.contains("AWS_SSM_START_SESSION_RESPONSE") && unset.contains("not set"));
}

#[test]
fn keys_match_without_regard_to_case_and_the_rest_is_ignored() {
    let ecs = r#"{"sessionId":"s-1","STREAMURL":"wss://h/x","tokenValue":"very-secret",
        "ResponseMetadata":{"RequestId":"1"},"TokenVALUE":null,"other":null}"#;
    let call = call(&[ecs, "r", "StartSession"], []);
    assert_eq!(call.session.session_id, "s-1");
    assert_eq!(call.session.stream_url, "wss://h/x");
    assert_eq!(call.session.token.expose(), "very-secret");
}

#[test]
fn p47_what_is_missing_is_named() {
    for (json, named) in [
        (
            r#"{"TokenValue":"t","StreamUrl":"u"}"#,
            "SessionId is missing",
        ),
        (
            r#"{"SessionId":null,"TokenValue":"t","StreamUrl":"u"}"#,
            "SessionId is missing",
        ),
        (
            r#"{"SessionId":"s","TokenValue":"t"}"#,
            "StreamUrl is missing",
        ),
        (
            r#"{"SessionId":"s","StreamUrl":"u"}"#,
            "TokenValue is missing",
        ),
        (
            r#"{"SessionId":7,"TokenValue":"t","StreamUrl":"u"}"#,
            "SessionId is not a text",
        ),
        (
            r#"{"SessionId":"s","TokenValue":"","StreamUrl":"u"}"#,
            "TokenValue is empty",
        ),
        ("null", "SessionId is missing"),
        ("[]", "not a JSON object"),
        ("", "not JSON"),
        ("{\"TokenValue\":\"very-secret", "not JSON"),
    ] {
        let text = error(&[json, "r", "StartSession"]);
        assert!(text.contains(named), "{json}: {text}");
        assert!(!text.contains("very-secret"));
    }
}

#[test]
fn p47_a_missing_target_is_fine_and_bad_json_an_error() {
    for fine in ["", "{}", "null", r#"{"Target":null}"#, r#"{"Target":""}"#] {
        assert_eq!(
            call(&[RESPONSE, "r", "StartSession", "p", fine], []).target,
            None
        );
    }
    for bad in ["{", "[]", "\"i-1\"", "7", r#"{"Target":7}"#] {
        let text = error(&[RESPONSE, "r", "StartSession", "p", bad]);
        assert!(text.contains("argument 5"), "{bad}: {text}");
    }
}

#[test]
fn a_prefix_for_stderr_sends_it_to_stdout() {
    let with = |parameters: &str| {
        let request = format!(r#"{{"Target":"i-1","Parameters":{parameters}}}"#);
        call(&[RESPONSE, "r", "StartSession", "p", &request], []).stderr_to_stdout
    };
    assert!(with(r#"{"command":["x"],"stderrSeparatorPrefix":["E:"]}"#));
    assert!(!with(r#"{"command":["x"]}"#));
    assert!(!with("null"));
}

#[test]
fn p48_the_token_is_never_shown() {
    let shown = format!("{:?}", parse(&[RESPONSE, "r", "StartSession"], []));
    assert!(!shown.contains("very-secret"), "{shown}");
}

#[test]
fn the_rest_is_not_a_call() {
    assert!(matches!(parse(&[], []), Ok(Invocation::Installed)));
    assert!(matches!(parse(&["--version"], []), Ok(Invocation::Version)));
    for few in [&["ls"][..], &["ls", "-l"], &["--version", "now"], &[""]] {
        match parse(few, []) {
            Ok(Invocation::UnknownOperation(first)) => assert_eq!(first, few[0]),
            other => panic!("{few:?}: {other:?}"),
        }
    }
    assert!(matches!(
        parse(&["not even JSON", "r", "ResumeSession"], []),
        Ok(Invocation::InvalidOperation)
    ));
    for help in ["help", "--help", "-h"] {
        assert!(matches!(parse(&[help], []), Ok(Invocation::Help(_))));
    }
}

#[test]
fn p88_what_is_no_name_of_a_variable_is_neither_removed_nor_shown() {
    for first in [
        "AWS_SSM_START_SESSION_RESPONSE=very-secret",
        "AWS_SSM_START_SESSION_RESPONSE_1\0very-secret",
        "AWS_SSM_START_SESSION_RESPONSE{\"TokenValue\":\"very-secret\"}",
    ] {
        let arguments = [first, "r", "StartSession"];
        assert_eq!(response_variable(&arguments.map(OsString::from)), None);
        let error = parse(&arguments, []).expect_err("no variable");
        assert_eq!(error.exit_code(), 2);
        assert!(!error.to_string().contains("very-secret"), "{error}");
    }
    for first in [
        "AWS_SSM_START_SESSION_RESPONSE=very-secret",
        RESPONSE,
        "[\"very-secret\"]",
    ] {
        let shown = format!("{:?}", parse(&[first], []));
        assert!(!shown.contains("very-secret"), "{shown}");
    }
}

#[cfg(unix)]
#[test]
fn p95_arguments_that_are_not_utf8_are_named_by_their_place() {
    use std::os::unix::ffi::OsStringExt;
    let own = ["exec", "--target", "i-1", "--", "rm"];
    let call = [RESPONSE, "r", "StartSession", "p", "{}", "wss://h/x"];
    for (arguments, is_own) in [(&own[..], true), (&call[..], false)] {
        for place in 0..=arguments.len() {
            let mut arguments: Vec<OsString> = arguments.iter().map(OsString::from).collect();
            arguments.insert(place, OsString::from_vec(b"a\xffb".to_vec()));
            let parsed = Invocation::parse(&arguments, &mut Environment::default());
            // Beyond six a call's arguments are nothing.
            if !is_own && place == 6 {
                assert!(matches!(parsed, Ok(Invocation::Call(_))));
                continue;
            }
            let error = parsed.expect_err("no text");
            assert_eq!(error.exit_code(), 2);
            assert_eq!(
                error.to_string(),
                format!("argument {} is not UTF-8", place + 1)
            );
        }
    }
}
