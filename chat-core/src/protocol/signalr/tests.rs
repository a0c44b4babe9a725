//! Records as clients write them, whole and cut.

use super::*;

const JSON: Encoding = Encoding::Json;

fn decode(record: &str) -> Result<Option<HubMessage<'_>>, DecodeError> {
    JSON.decode(record.as_bytes())
}

fn encoded(message: &HubMessage<'_>) -> String {
    let mut out = Vec::new();
    JSON.encode(message, &mut out);
    assert_eq!(out.pop(), Some(RECORD_SEPARATOR));
    String::from_utf8(out).expect("JSON is UTF-8")
}

/// What the official JavaScript client writes (version 10), but for the handshake.
const VECTORS: &[&str] = &[
    r#"{"type":1,"target":"SendMessage","arguments":[{"roomId":7,"content":"hi"}],"invocationId":"0"}"#,
    r#"{"type":1,"target":"Ping","arguments":[{}]}"#,
    r#"{"type":1,"target":"Up","arguments":[],"invocationId":"2","streamIds":["1"]}"#,
    r#"{"type":4,"target":"StreamHistory","arguments":[{"roomId":7}],"invocationId":"4"}"#,
    r#"{"type":2,"invocationId":"4","item":42}"#,
    r#"{"type":2,"invocationId":"4","item":null}"#,
    r#"{"type":3,"invocationId":"4"}"#,
    r#"{"type":3,"invocationId":"0","result":{"id":1}}"#,
    r#"{"type":3,"invocationId":"0","result":null}"#,
    r#"{"type":3,"invocationId":"0","error":"forbidden: no"}"#,
    r#"{"type":5,"invocationId":"4"}"#,
    r#"{"type":6}"#,
    r#"{"type":7}"#,
    r#"{"type":8,"sequenceId":36}"#,
    r#"{"type":8,"sequenceId":300}"#,
    r#"{"type":9,"sequenceId":19}"#,
];

#[test]
fn what_the_javascript_client_writes_is_read_and_written_alike() {
    for vector in VECTORS {
        let message = decode(vector).expect(vector).expect("a known type");
        assert_eq!(encoded(&message), *vector);
    }
}
