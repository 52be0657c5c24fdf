//! `--parameters`, compared with what the real AWS CLI makes of the same text.

use std::fs;

use fastrand::Rng;
use sandbox::{Config, Sandbox};
use serde_json::{Value, json};
use session_manager_plugin::cli::parse_parameters;
use session_manager_plugin::internals::settings::Environment;

use crate::python;
use crate::support::{Io, Plugin, aws_cli, requests};

/// The AWS CLI's own steps: a file, JSON or shorthand, lists where the model wants them, and what the model demands.
const PARAMETERS: &str = r#"
import json, os, sys
from types import SimpleNamespace
import awscli, botocore.session
from awscli.argprocess import ParamShorthandParser, unpack_cli_arg
from awscli.paramfile import LOCAL_PREFIX_MAP, get_paramfile
from botocore.validate import ParamValidator
given = json.load(sys.stdin)
os.environ.clear()
os.environ.update(given['environment'])
service = botocore.session.Session().get_service_model('ssm')
shape = service.operation_model('StartSession').input_shape.members['Parameters']
argument = SimpleNamespace(argument_model=shape, cli_name='--parameters', py_name='parameters', name='parameters')
def parse(text):
    try:
        content = get_paramfile(text, LOCAL_PREFIX_MAP)
        value = text if content is None else content
        parsed = ParamShorthandParser()(argument, value, 'process-cli-arg.ssm.start-session')
        if parsed is None:
            parsed = unpack_cli_arg(argument, value)
        return None if ParamValidator().validate(parsed, shape).has_errors() else parsed
    except Exception:
        return None
print(json.dumps([parse(text) for text in given['texts']]))
"#;

/// Compares all of them; how many both take.
fn compare(texts: &[String], environment: &[(&str, &str)]) -> usize {
    let variables: Environment = environment.iter().copied().collect();
    let environment: serde_json::Map<String, Value> = environment
        .iter()
        .map(|(name, value)| ((*name).to_owned(), json!(value)))
        .collect();
    let input = json!({ "environment": environment, "texts": texts });
    let theirs = python::run(PARAMETERS, &input);
    let theirs = theirs.as_array().expect("a list");
    assert_eq!(theirs.len(), texts.len());
    for (text, theirs) in texts.iter().zip(theirs) {
        let ours = parse_parameters(text, &variables);
        let shown = ours.as_ref().map_or(Value::Null, |ours| json!(ours));
        assert_eq!(shown, *theirs, "{text:?}: {ours:?}");
    }
    theirs.iter().filter(|theirs| !theirs.is_null()).count()
}

/// Forms that the AWS CLI's own tests of its shorthand cover, and corners of its grammar.
const FORMS: &[&str] = &[
    "a=b",
    "a=b,c=d",
    "a=b,c=d,e=f",
    "a=",
    "a=,b=",
    "a=\u{2713}",
    "a=\u{2713},\u{2713}",
    "a=\u{1F600}",
    "a=x\u{1F600}",
    "a='\u{1F600}'",
    "a=b,c",
    "a=b,c,d",
    "a=b,c,d=e,f",
    "a=b,c,d,e=f,g,h",
    "a=[]",
    "a=[b]",
    "a=[b,c]",
    "a=[b,c,d]",
    "a=[b,c],d=e,f",
    "a=[b,c],d=[e,f]",
    "a=b,c,d=[e,f]",
    "a=[b=c,d=e]",
    "a=[ b , c  , d  ]",
    "a  =  [ b , c  , d  ]",
    "a=[,,]",
    "a=[b,]",
    "a=[b,,c]",
    "a=[b]c",
    "a=[b] ",
    "a=[b] ,c=d",
    "a='b'",
    "a='b,c'",
    "a='b','c'",
    "a=b,'c'",
    "a=b,'c=d'",
    "a=b,'--option=c d'",
    r"a='b\'c'",
    r"a='b\\c'",
    r"a='b\\'c'",
    r"a='b\'",
    r"a='b\',c=d",
    r"a='\'",
    r"a='\n'",
    "a=''",
    "a='b'c",
    "a='b' ,c=d",
    "a='b' , 'c' ",
    r#"a="b""#,
    r#"a="b,c""#,
    r#"a="b","c""#,
    r#"a=b,"c=d""#,
    r#"a=b,"--option=c d""#,
    r#"a="b\"c""#,
    r#"a="b\\c""#,
    r#"a="b\'c""#,
    r#"a='b"c'"#,
    r#"a=b"c"#,
    "a=b'c",
    r#"a=["b,c",'d']"#,
    r#"a=[ "b" , 'c' ]"#,
    r"a=b\,c",
    r"a=b\,",
    r"a=\,",
    r"a=b,c\,d",
    r"a=b,c\,",
    r"a=b,\,c",
    r"a=[b\,c,d]",
    r"a=b\c",
    r"a=b\",
    r"a=\\,b",
    "a= b",
    "a =b",
    "a = b",
    "a  =   b",
    "a = b,c = d",
    "a = b,  c = d , e = f",
    "a = ",
    "a=b,c=  d,  e,  f",
    "a=b,c=  d  ,  e  ,  f  ",
    "a=b,c= d,  e  ,  f",
    "a=b,\nc=d,e,f",
    "a=b,\nc=d,\ne=f\n",
    "a=b\n,c=d",
    "a=\tb\t",
    "a=b\u{a0}",
    "a=b\u{1c}",
    "a=\u{b}b",
    " a=b",
    "a=b c",
    "a=b=c",
    "a=b,c=d=e",
    "a==b",
    "a=b}",
    "a=b]",
    "a=b,c]",
    "a=b,c}",
    "a=b[c",
    "a=b,[c]",
    "a=b,{c",
    "a={b=c,d=e}",
    "a={b=[c,d],e=f}",
    "a={b=c},d=e",
    "a={b={c=d}}",
    "a=[{b=c}, {d=e}]",
    "a=[[b],[c]]",
    "a=[[b,c]]",
    "a={}",
    "a={b}",
    "a={b",
    "a={b=c",
    "a=[b",
    "a=[",
    "a",
    "",
    " ",
    "=",
    "=b",
    ",",
    "a=b,",
    "a=b,,c=d",
    "a=b,,c",
    "a=,b",
    "a=b,c=",
    "a=b,a=c",
    "a=[b],a=[c]",
    "a='b",
    "a=\"b",
    "a=b,'c",
    "a=b,'c,d=e",
    "a.b-c_d/e#f:g=h",
    "a b=c",
    "a+b=c",
    "é=b",
    "a@=b",
    "a@ = b,c",
    "a @= b",
    "@=b",
    "a@b=c",
    "portNumber=80,localPortNumber=8080",
    r#"command="echo 'x, y' | wc -l""#,
    "command=ls -l /tmp",
    "command=[ls -l; echo $HOME]",
    "host=db.internal,portNumber=[5432],localPortNumber=['5432']",
    "http://x.example/y",
    "https://x.example/?a=b",
    // JSON.
    r#"{"a":["b"]}"#,
    r#" {"a":["b","c"],"d":[]} "#,
    "\n{\"a\":[\"b\"]}\n",
    r#"{"a":["\u00e9\"\\"]}"#,
    r#"{"a":["b"],"a":["c"]}"#,
    r#"{"a":"b"}"#,
    r#"{"a":[1]}"#,
    r#"{"a":1}"#,
    r#"{"a":true}"#,
    r#"{"a":null}"#,
    r#"{"a":[null]}"#,
    r#"{"a":[["b"]]}"#,
    r#"{"a":{"b":"c"}}"#,
    r#"{"a":[""]}"#,
    r#"{"":["b"]}"#,
    "{}",
    "{",
    "{'a':['b']}",
    r#"{"a":["b"],}"#,
    r#"{"a":["b"]} x"#,
    r#"["a"]"#,
    "[]",
    r#""a""#,
    "null",
    "\u{feff}{}",
];

fn texts(of: &[&str]) -> Vec<String> {
    of.iter().map(|text| (*text).to_owned()).collect()
}

#[test]
fn every_form_means_what_it_means_to_the_aws_cli() {
    let taken = compare(&texts(FORMS), &[]);
    assert!(taken > 70, "{taken} of {}", FORMS.len());
}

#[test]
fn random_texts_mean_what_they_mean_to_the_aws_cli() {
    const PIECES: [&str; 28] = [
        "a",
        "b",
        "name",
        "=",
        "=",
        "=",
        ",",
        ",",
        "[",
        "]",
        "{",
        "}",
        "'",
        "\"",
        "\\",
        "\\,",
        "\\'",
        " ",
        "\n",
        "@",
        "=[",
        "='",
        "',",
        "],",
        "\u{e9}",
        "\u{1F600}",
        "\u{a0}",
        "#/:.-_",
    ];
    let mut rng = Rng::with_seed(12);
    let mut random: Vec<String> = (0..20_000)
        .map(|_| {
            let count = rng.usize(0..12);
            (0..count)
                .map(|_| PIECES[rng.usize(..PIECES.len())])
                .collect()
        })
        .collect();
    // Good ones with one thing changed.
    for form in FORMS {
        for _ in 0..40 {
            let mut changed: Vec<char> = form.chars().collect();
            let piece = PIECES[rng.usize(..PIECES.len())];
            let at = rng.usize(..=changed.len());
            let removed = rng.usize(..2).min(changed.len() - at);
            changed.splice(at..at + removed, piece.chars());
            random.push(changed.into_iter().collect());
        }
    }
    let taken = compare(&random, &[]);
    assert!(taken > 1_000, "{taken} of {}", random.len());
}

#[test]
fn files_mean_what_they_mean_to_the_aws_cli() {
    let home = tempfile::tempdir().unwrap();
    let root = home.path().to_str().unwrap();
    for (name, text) in [
        ("json", r#"{"portNumber":["22"]}"#.as_bytes()),
        ("short", b"portNumber=22,host=a,b\n"),
        ("lines", b"command='a\r\nb\rc',\r\nx=y\r\n"),
        ("empty", b""),
        ("bytes", b"a=\xff"),
        ("mark", b"\xef\xbb\xbf{\"a\":[\"b\"]}"),
        ("value", b"a, b=c\n"),
        ("nested", b"file://$HOME/json"),
        ("$NONE", b"a=literal"),
        ("a b", b"a=space"),
    ] {
        fs::write(home.path().join(name), text).unwrap();
    }
    let texts: Vec<String> = [
        "file://R/json",
        "file://R/short",
        "file://R/lines",
        "file://R/empty",
        "file://R/bytes",
        "file://R/mark",
        "file://R/nested",
        "file://R/none",
        "file://R",
        "file://",
        "file://~/json",
        "file://$HOME/json",
        "file://${HOME}/${NAME}",
        "file://$TILDE/json",
        "file://R/$NONE",
        "file://R/a b",
        "file://R/json ",
        " file://R/json",
        "FILE://R/json",
        "fileb://R/json",
        "fileb://R/short",
        "fileb://R/none",
        "a@=file://R/value",
        "a@='file://R/value',b=c",
        "a@=[file://R/value,x]",
        "a@=x,file://R/value",
        "a@=file://~/value,b=file://~/value",
        "a@=file://R/none",
        "a@=file://R/bytes",
        "a@=file://R/empty",
        "a@=fileb://R/value",
        "a=fileb://R/value",
        "a={b@=file://R/none}",
    ]
    .iter()
    .map(|text| text.replace("R/", &format!("{root}/")))
    .collect();
    let environment = [("HOME", root), ("NAME", "json"), ("TILDE", "~")];
    let taken = compare(&texts, &environment);
    assert!(taken > 12, "{taken}");
}

#[test]
fn the_built_program_sends_what_the_aws_cli_sends() {
    let sandbox = Sandbox::start(Config::strict()).expect("a sandbox");
    let home = tempfile::tempdir().unwrap();
    fs::write(
        home.path().join("p.json"),
        r#"{"command":["echo one, two"]}"#,
    )
    .unwrap();
    let document = "AWS-StartInteractiveCommand";
    let endpoint = sandbox.api_url();
    for (parameters, is_good) in [
        (r#"command="echo one, two""#, true),
        ("file://~/p.json", true),
        ("file://~/none.json", false),
        ("fileb://~/p.json", false),
        ("command=", false),
    ] {
        let options = [
            "--target",
            "i-1",
            "--document-name",
            document,
            "--parameters",
            parameters,
        ];
        let own = Plugin::bare([&["start-session"], &options[..]].concat());
        let ours = own
            .with_api(&sandbox)
            .env("HOME", home.path())
            .stdin(Io::Null)
            .run(b"");
        let code = ours.code();
        assert_eq!(code, if is_good { 0 } else { 2 }, "{parameters}: {ours:?}");
        assert!(is_good || ours.stderr.contains("--parameters"), "{ours:?}");

        let words = options.map(|word| format!("'{word}'")).join(" ");
        let command = format!(
            "exec '{}' ssm start-session {words} --endpoint-url {endpoint}",
            aws_cli::aws().display()
        );
        let theirs = Plugin::bare([""; 0])
            .with_api(&sandbox)
            .without("AWS_ENDPOINT_URL")
            .env("PATH", aws_cli::path())
            .env("HOME", home.path())
            .stdin(Io::Null)
            .before(&command)
            .run(b"");
        assert_eq!(theirs.code() == 0, is_good, "{parameters}: {theirs:?}");
    }
    let requests = requests(&sandbox, "ssm:StartSession");
    let sent: Vec<&Value> = requests
        .iter()
        .map(|request| &request["Parameters"])
        .collect();
    let expected = json!({"command": ["echo one, two"]});
    assert_eq!(sent, vec![&expected; 4]);
}
