//! What real peers say, to be changed.

use session_manager_plugin::internals::smux::frame;

const MESSAGES: &str = include_str!("../vectors/messages.json");

fn unhex(text: &str) -> Vec<u8> {
    (0..text.len() / 2)
        .map(|index| u8::from_str_radix(&text[2 * index..2 * index + 2], 16).unwrap())
        .collect()
}

fn texts(texts: &[&str]) -> Vec<Vec<u8>> {
    texts.iter().map(|text| text.as_bytes().to_vec()).collect()
}

pub fn message() -> Vec<Vec<u8>> {
    let vectors: Vec<serde_json::Value> = serde_json::from_str(MESSAGES).unwrap();
    vectors
        .iter()
        .map(|vector| unhex(vector["hex"].as_str().unwrap()))
        .collect()
}

pub fn handshake() -> Vec<Vec<u8>> {
    let mut payloads: Vec<Vec<u8>> = message()
        .iter()
        .filter_map(|frame| Some(frame.get(120..)?.to_vec()))
        .filter(|payload| payload.first() == Some(&b'{'))
        .collect();
    payloads.extend(texts(&[
        concat!(
            r#"{"AgentVersion":"3.3.0.0","RequestedClientActions":[{"ActionType":"SessionType","ActionParameters":"#,
            r#"{"SessionType":"Standard_Stream","Properties":null}},{"ActionType":"KMSEncryption","ActionParameters":"#,
            r#"{"KMSKeyId":"arn","Challenge":"Y2g="}}]}"#,
        ),
        concat!(
            r#"{"AgentVersion":"3.3.0.0","RequestedClientActions":[{"ActionType":"SessionType","ActionParameters":"#,
            r#"{"SessionType":"Port","Properties":{"portNumber":22,"type":"LocalPortForwarding"}}},{"ActionType":"Dance","#,
            r#""ActionParameters":7}]}"#,
        ),
        r#"{"AgentVersion":"3.3.0.0","RequestedClientActions":null}"#,
        r#"{"HandshakeTimeToComplete":306184810,"CustomerMessage":"hello"}"#,
    ]));
    payloads
}

pub fn smux() -> Vec<Vec<u8>> {
    let mut stream = Vec::new();
    let psh = [1, 2, 5, 0, 3, 0, 0, 0, b'h', b'e', b'l', b'l', b'o'];
    let piece = |stream: &mut Vec<u8>, bytes: &[u8]| {
        stream.push(u8::try_from(bytes.len()).unwrap());
        stream.extend_from_slice(bytes);
    };
    piece(&mut stream, &psh);
    piece(&mut stream, &psh[..6]);
    piece(&mut stream, &psh[6..]);
    piece(&mut stream, &[1, 3, 0, 0, 0, 0, 0, 0]);
    let mut fin = stream.clone();
    piece(&mut fin, &[1, 1, 0, 0, 3, 0, 0, 0]);
    let mut syn = stream.clone();
    piece(&mut syn, &frame::syn(3));
    let mut long = vec![8, 1, 2, 0xff, 0xff, 3, 0, 0, 0];
    for _ in 0..8 {
        piece(&mut long, &[7; 255]);
    }
    vec![stream, fin, syn, long]
}

pub fn escapes() -> Vec<Vec<u8>> {
    texts(&["ls\r~.", "~~\r~?~-\r~.", "\n~x~~~.", "no escape"])
}

pub fn socks() -> Vec<Vec<u8>> {
    vec![
        b"\x05\x01\x00\x05\x01\x00\x03\x0bdb.internal\x15\x38".to_vec(),
        b"\x05\x02\x00\x02\x05\x01\x00\x01\x0a\x00\x00\x07\x00\x50".to_vec(),
        [&b"\x05\x01\x00\x05\x01\x00\x04"[..], &[0xfd; 16], &[1, 187]].concat(),
        b"\x05\x01\x00\x05\x03\x00\x01\x7f\x00\x00\x01\x00\x50".to_vec(),
        b"\x04\x01\x00\x50\x7f\x00\x00\x01\x00".to_vec(),
    ]
}

pub fn arguments() -> Vec<Vec<u8>> {
    texts(&[
        "{\"SessionId\":\"s-1\",\"TokenValue\":\"t\",\"StreamUrl\":\"wss://ssmmessages.eu-central-1.amazonaws.com/v1/\
         data-channel/s-1?role=publish_subscribe\"}\0default\0{\"Target\":\"i-1\",\"DocumentName\":\"AWS-StartSSHSession\",\
         \"Parameters\":{\"portNumber\":[\"22\"]}}\0https://ssm.eu-central-1.amazonaws.com",
        "{\"sessionId\":null,\"streamUrl\":7,\"tokenValue\":[]}\0\0null\0",
        "portNumber=80,command=\"a, b\",list=[x,y]\0i-1",
        "{\"portNumber\":[\"80\"],\"command\":\"echo\"}\0i-1",
        "a=[ b , 'c\\'d' ],e@=file://$HOME/x,f={g=[h]},i= j\\,k , \"l\"\0i-1",
        "forward\0i-1\08080:db:5432",
        "exec\0i-1\0--\0ls\0-l",
        "shell\0--help",
        "--version",
    ])
}

pub fn stream_url() -> Vec<Vec<u8>> {
    texts(&[
        "wss://ssmmessages.eu-central-1.amazonaws.com/v1/data-channel/s-1?role=publish_subscribe",
        "wss://ssmmessages-fips.us-gov-west-1.amazonaws.com/v1/data-channel/s-1?role=publish_subscribe&cell-number=AAEP",
        "wss://vpce-0a.ssmmessages.eu-central-1.vpce.amazonaws.com:443/x?X-Amz-Signature=abcdefghijklmnopqrstuvwxyz",
        "ws://127.0.0.1:8080/x?token=abcdefghijklmnopqrstuvwxyz",
        "wss://user:password@[::1]:1/%20",
        "https://ssmmessages.cn-north-1.amazonaws.com.cn/",
        // A query that is in the host as well, which an error may show.
        "wss://ssm,,,,,,,,,,,,,,,,,,,,,,,,,,,,,,?,,,,,,,,,,,,,,,,,,,,,,,,",
    ])
}

pub fn proxy_answers() -> Vec<Vec<u8>> {
    let mut answers = texts(&[
        "HTTP/1.1 200 Connection established\r\n\r\n",
        "HTTP/1.0 407 Proxy Authentication Required\r\nProxy-Authenticate: Basic\r\nContent-Length: 5\r\n\r\nhello",
        "HTTP/1.1 503 \r\nX: y\r\n\r\n",
    ]);
    answers.push(vec![5, 0, 5, 0, 0, 1, 127, 0, 0, 1, 0, 80]);
    answers.push(vec![5, 0, 5, 0, 0, 3, 4, b'h', b'o', b's', b't', 0, 80]);
    answers.push(vec![5, 0, 5, 5, 0, 4]);
    answers.push(vec![5, 255]);
    answers
}

pub fn api_answers() -> Vec<Vec<u8>> {
    texts(&[
        "HTTP/1.1 400 Bad Request\r\nContent-Length: 85\r\n\r\n{\"__type\":\"com.amazonaws.ssm#DoesNotExistException\",\
         \"message\":\"Session is terminated\"}",
        "HTTP/1.1 503 Busy\r\n\r\n{\"__type\":\"DoesNotExistException\",\"message\":\"the session was terminated\"}",
        "HTTP/1.1 403 Forbidden\r\nx-amzn-ErrorType: AccessDenied:http://x/\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
        "HTTP/1.1 400\r\n\r\n<ErrorResponse><Error><Code>ExpiredToken</Code><Message>it &lt;is&gt; \
         terminated</Message></Error></ErrorResponse>",
        "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\n\r\n{\"TokenValue\":\"t\"}",
    ])
}

pub fn recovery() -> Vec<Vec<u8>> {
    vec![
        [1, 200].repeat(400),
        [0xea, 3].repeat(400),
        [0x2a, 3, 0, 255, 0x6a, 90, 0x15, 1].repeat(200),
        [2, 250, 1, 0].repeat(300),
    ]
}
