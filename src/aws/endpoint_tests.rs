use super::*;

fn url<const N: usize>(
    variables: [(&str, &str); N],
    endpoint: Option<&str>,
    target: Option<&str>,
    stream: Option<&str>,
    service: Service,
    region: &str,
) -> String {
    let argument = endpoint.map(|url| CallerEndpoint::Argument(url.to_owned()));
    let endpoints = Endpoints::new(
        &Environment::from(variables),
        &Configured::default(),
        argument.as_ref(),
        target,
        stream,
    );
    let url = endpoints.url(service, region);
    url.map_or_else(|error| error.to_string(), |url| url.to_string())
}

fn ssm(endpoint: Option<&str>, target: Option<&str>, stream: &str) -> String {
    url(
        [],
        endpoint,
        target,
        Some(stream),
        Service::Ssm,
        "eu-west-1",
    )
}

const STREAM: &str = "ssmmessages.eu-west-1.amazonaws.com";

#[test]
fn p23_the_endpoint_of_ssm_is_never_that_of_another_service() {
    let derived = "https://ssm.eu-west-1.amazonaws.com/";
    assert_eq!(ssm(None, None, STREAM), derived);
    assert_eq!(
        ssm(
            Some("wss://ssmmessages.eu-west-1.amazonaws.com/v1"),
            None,
            STREAM
        ),
        derived
    );
    assert_eq!(
        ssm(Some("https://ecs.eu-west-1.amazonaws.com"), None, STREAM),
        derived
    );
    assert_eq!(
        ssm(
            Some("https://vpce-1.ecs.eu-west-1.vpce.amazonaws.com"),
            None,
            STREAM
        ),
        derived
    );
    assert_eq!(
        ssm(Some("http://127.0.0.1:9000"), Some("ecs:c_t_r"), STREAM),
        derived
    );
    assert_eq!(
        ssm(Some("http://127.0.0.1:9000"), Some("i-1"), STREAM),
        "http://127.0.0.1:9000/"
    );
    assert_eq!(
        ssm(Some("https://ssm.example/x"), None, STREAM),
        "https://ssm.example/x"
    );
    assert_eq!(ssm(Some("not a url"), None, STREAM), derived);
}

#[test]
fn p23_the_partition_is_the_streams() {
    let from = |stream: &str| ssm(None, None, stream);
    assert_eq!(
        from("vpce-1-a.ssmmessages.eu-west-1.vpce.amazonaws.com"),
        "https://ssm.eu-west-1.amazonaws.com/"
    );
    assert_eq!(
        from("ssmmessages-fips.eu-west-1.amazonaws.com"),
        "https://ssm-fips.eu-west-1.amazonaws.com/"
    );
    assert_eq!(
        from("ssmmessages.cn-north-1.amazonaws.com.cn"),
        "https://ssm.eu-west-1.amazonaws.com.cn/"
    );
    assert_eq!(
        from("ssmmessages.eu-west-1.api.aws"),
        "https://ssm.eu-west-1.api.aws/"
    );
    assert_eq!(
        from("ssmmessages.x.evil.example"),
        "https://ssm.eu-west-1.amazonaws.com/"
    );
    assert_eq!(from("localhost"), "https://ssm.eu-west-1.amazonaws.com/");
}

#[test]
fn variables_go_before_all() {
    let both = [
        ("AWS_ENDPOINT_URL_SSM", "http://a:1"),
        ("AWS_ENDPOINT_URL", "http://b:2"),
    ];
    let argument = Some("http://c:3");
    assert_eq!(
        url(both, argument, None, None, Service::Ssm, "x"),
        "http://a:1/"
    );
    assert_eq!(
        url(both, argument, None, None, Service::Kms, "x"),
        "http://b:2/"
    );
    assert_eq!(
        url([both[1]], argument, None, None, Service::Ssm, "x"),
        "http://c:3/"
    );
    let ecs = Some("ecs:c_t_r");
    assert_eq!(
        url([both[1]], argument, ecs, None, Service::Ssm, "x"),
        "http://b:2/"
    );
    let ignored = [
        ("AWS_ENDPOINT_URL", "http://b:2"),
        ("AWS_IGNORE_CONFIGURED_ENDPOINT_URLS", "true"),
    ];
    assert_eq!(
        url(ignored, argument, None, None, Service::Ssm, "x"),
        "http://c:3/"
    );
    assert_eq!(
        url(ignored, argument, None, None, Service::Kms, "x-1"),
        "https://kms.x-1.amazonaws.com/"
    );
    // What is for SSM alone is not for the others.
    assert_eq!(
        url([both[0]], argument, None, None, Service::Sts, "x-1"),
        "https://sts.x-1.amazonaws.com/"
    );
    let wrong = [("AWS_ENDPOINT_URL_STS", "sts")];
    assert!(url(wrong, None, None, None, Service::Sts, "x").contains("AWS_ENDPOINT_URL_STS"));
}

#[test]
fn p114_the_settings_count_and_so_does_the_stream() {
    let fips = ("AWS_USE_FIPS_ENDPOINT", "True");
    let dual = ("AWS_USE_DUALSTACK_ENDPOINT", "true");
    let host = |stream, service, region| url([], None, None, stream, service, region);
    let both = |service, region| url([fips, dual], None, None, None, service, region);
    let with_fips = |service, region| url([fips], None, None, None, service, region);
    assert_eq!(
        with_fips(Service::Ssm, "us-gov-west-1"),
        "https://ssm.us-gov-west-1.amazonaws.com/"
    );
    assert_eq!(
        with_fips(Service::Kms, "us-gov-west-1"),
        "https://kms-fips.us-gov-west-1.amazonaws.com/"
    );
    assert_eq!(
        both(Service::Ssm, "us-gov-west-1"),
        "https://ssm-fips.us-gov-west-1.api.aws/"
    );
    assert_eq!(
        host(
            Some("ssmmessages-fips.us-gov-east-1.amazonaws.com"),
            Service::Ssm,
            "us-gov-east-1"
        ),
        "https://ssm.us-gov-east-1.amazonaws.com/"
    );
    assert_eq!(
        url([dual], None, None, Some(STREAM), Service::Ssm, "eu-west-1"),
        "https://ssm.eu-west-1.api.aws/"
    );
    assert_eq!(
        with_fips(Service::Sso, "eu-west-1"),
        "https://portal.sso-fips.eu-west-1.amazonaws.com/"
    );
}

#[test]
fn an_endpoint_that_was_asked_for_is_the_one_that_is_used() {
    let asked = |url: &str| {
        let variables = [("AWS_ENDPOINT_URL_SSM", "http://127.0.0.1:1")];
        let endpoints = Endpoints::new(
            &Environment::from(variables),
            &Configured::default(),
            Some(&CallerEndpoint::Asked(url.to_owned())),
            Some("ecs:c_t_r"),
            None,
        );
        let url = endpoints.url(Service::Ssm, "eu-west-1");
        url.map_or_else(|error| error.to_string(), |url| url.to_string())
    };
    assert_eq!(
        asked("http://ssm.ecs.example:9/"),
        "http://ssm.ecs.example:9/"
    );
    assert_eq!(asked(""), "http://127.0.0.1:1/");
    for wrong in [
        "nope",
        "ftp://x",
        "http://x:99999",
        "http://",
        "http://u:secret@x",
    ] {
        let error = asked(wrong);
        assert!(error.starts_with("the URL in --endpoint-url "), "{error}");
        assert!(!error.contains("secret"), "{error}");
    }
}

#[test]
fn p94_secrets_of_single_sign_on_never_go_in_the_clear() {
    let to = |host: &str, service| {
        let all = [("AWS_ENDPOINT_URL", host)];
        let endpoints = Endpoints::new(
            &Environment::from(all),
            &Configured::default(),
            None,
            None,
            None,
        );
        (
            endpoints.url(service, "eu-west-1").is_ok(),
            endpoints.clear_text_hosts(),
        )
    };
    for here in [
        "http://127.0.0.1:4566",
        "http://[::1]:4566",
        "http://LOCALHOST",
        "https://gateway.example",
    ] {
        assert_eq!(to(here, Service::SsoOidc), (true, vec![]), "{here}");
    }
    let host = vec!["gateway.example:4566".to_owned()];
    let elsewhere = "http://gateway.example:4566";
    assert_eq!(to(elsewhere, Service::Sso), (false, host.clone()));
    assert_eq!(to(elsewhere, Service::SsoOidc), (false, host.clone()));
    assert_eq!(to(elsewhere, Service::Sts), (true, host));
}

#[test]
fn p96_p111_a_region_is_there_and_no_more_than_a_label() {
    let given = [("AWS_ENDPOINT_URL", "http://127.0.0.1")];
    for wrong in [
        "evil.example/",
        "a.b",
        "eu-west-1@x",
        "-x",
        "A",
        "é",
        "eu-west-1\r\nX: y",
        "eu-west-1\n",
    ] {
        for variables in [&[][..], &given] {
            let environment = variables.iter().copied().collect();
            let endpoints = Endpoints::new(&environment, &Configured::default(), None, None, None);
            let error = endpoints.url(Service::Ssm, wrong).unwrap_err().to_string();
            assert!(
                error.contains("is no region") && !error.contains('\n'),
                "{error}"
            );
        }
    }
    for variables in [vec![], given.to_vec()] {
        let endpoints = Endpoints::new(
            &variables.into_iter().collect(),
            &Configured::default(),
            None,
            None,
            None,
        );
        assert!(
            endpoints
                .url(Service::Ssm, "")
                .unwrap_err()
                .to_string()
                .contains("AWS_REGION")
        );
    }
}
