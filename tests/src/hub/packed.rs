//! Records as JSON and as MessagePack, which is read and written by another implementation than the server's.

use serde_json::{Value, json};

/// A record on the wire.
#[must_use]
pub fn text_of(record: &Value) -> String {
    format!("{record}\x1e")
}

/// The same record in MessagePack, as the official clients write it.
#[must_use]
pub fn packed_of(record: &Value) -> Vec<u8> {
    let headers = record.get("headers").cloned().unwrap_or(json!({}));
    let id = &record["invocationId"];
    let mut items = vec![record["type"].clone()];
    match record["type"].as_i64() {
        Some(1 | 4) => {
            items.extend([headers, id.clone(), record["target"].clone()]);
            items.push(record["arguments"].clone());
            items.extend(record.get("streamIds").cloned());
        }
        Some(2) => items.extend([headers, id.clone(), record["item"].clone()]),
        Some(3) => {
            items.extend([headers, id.clone()]);
            match (record.get("error"), record.get("result")) {
                (Some(error), _) => items.extend([json!(1), error.clone()]),
                (None, Some(result)) => items.extend([json!(3), result.clone()]),
                (None, None) => items.push(json!(2)),
            }
        }
        Some(5) => items.extend([headers, id.clone()]),
        Some(7) => items.extend([
            record["error"].clone(),
            json!(record["allowReconnect"] == true),
        ]),
        Some(8 | 9) => items.push(record["sequenceId"].clone()),
        _ => {}
    }
    framed(&rmp_serde::to_vec(&items).expect("a value"))
}

/// A MessagePack record behind its length.
#[must_use]
pub fn framed(record: &[u8]) -> Vec<u8> {
    let (mut out, mut length) = (Vec::new(), record.len());
    while length > 0x7f {
        out.push(u8::try_from(length & 0x7f).expect("seven bits") | 0x80);
        length >>= 7;
    }
    out.push(u8::try_from(length).expect("seven bits"));
    out.extend_from_slice(record);
    out
}

/// The record as it would be in JSON. It must have the items that the server is to write: all clients read those.
pub(super) fn unpacked(record: &[u8]) -> Value {
    let mut rest = record;
    let items: Vec<Value> = rmp_serde::from_read(&mut rest).expect("a MessagePack array");
    assert!(rest.is_empty(), "nothing behind the array");
    let no_headers = json!({});
    match &items[..] {
        [kind, headers, id, target, arguments, stream_ids]
            if *kind == 1 && *headers == no_headers && *stream_ids == json!([]) =>
        {
            let mut record = json!({"type": 1, "target": target, "arguments": arguments});
            if !id.is_null() {
                record["invocationId"] = id.clone();
            }
            record
        }
        [kind, headers, id, item] if *kind == 2 && *headers == no_headers => {
            json!({"type": 2, "invocationId": id, "item": item})
        }
        [kind, headers, id, how, rest @ ..] if *kind == 3 && *headers == no_headers => {
            let mut record = json!({"type": 3, "invocationId": id});
            match (how.as_i64(), rest) {
                (Some(1), [error]) => record["error"] = error.clone(),
                (Some(2), []) => {}
                (Some(3), [result]) => record["result"] = result.clone(),
                other => panic!("not a completion: {other:?}"),
            }
            record
        }
        [kind] if *kind == 6 => json!({"type": 6}),
        [kind, error, allow_reconnect] if *kind == 7 => {
            let mut record = json!({"type": 7});
            if !error.is_null() {
                record["error"] = error.clone();
            }
            if *allow_reconnect == true {
                record["allowReconnect"] = json!(true);
            }
            record
        }
        [kind, sequence_id] if *kind == 8 || *kind == 9 => {
            json!({"type": kind, "sequenceId": sequence_id})
        }
        other => panic!("no record that clients read: {other:?}"),
    }
}
