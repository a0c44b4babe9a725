use proptest::prelude::*;
use serde::Deserialize;
use serde::de::IgnoredAny;

use super::*;
use crate::model::{Role, RoomId, Timestamp};

#[derive(Debug, Deserialize, PartialEq)]
#[serde(rename_all = "camelCase")]
struct Body {
    room_id: RoomId,
    #[serde(default)]
    name: Option<String>,
    #[serde(default)]
    inner: Option<Inner>,
}

#[derive(Debug, Deserialize, PartialEq)]
struct Inner {
    roles: Vec<Role>,
    #[serde(default)]
    on: bool,
    #[serde(default)]
    at: Option<Timestamp>,
}

fn refused(json: &str) -> JsonError {
    parse::<Body>(json.as_bytes()).expect_err(json)
}

fn nested(levels: usize) -> String {
    format!("{}{}", "[".repeat(levels), "]".repeat(levels))
}

#[test]
fn unknown_members_are_ignored_and_null_is_absent() {
    let body: Body =
        parse(br#" {"roomId":7.0,"name":null,"more":[{"a":1},{"a":1}],"inner":null} "#)
            .expect("a body");
    assert_eq!(
        body,
        Body {
            room_id: RoomId(7),
            name: None,
            inner: None
        }
    );
}

#[test]
fn a_key_that_stands_twice_is_refused_wherever_it_is() {
    let many: Vec<String> = (0..100).map(|n| format!("\"k{n}\":0")).collect();
    let many = many.join(",");
    for json in [
        r#"{"roomId":7,"roomId":7}"#.to_owned(),
        r#"{"roomId":7,"a":1,"a":1}"#.to_owned(),
        r#"{"roomId":7,"a":1,"\u0061":1}"#.to_owned(),
        r#"{"roomId":7,"":1,"":1}"#.to_owned(),
        r#"{"roomId":7,"x":{"y":[{},{"a":{},"b":{"a":1},"a":2}]}}"#.to_owned(),
        format!(r#"{{"roomId":7,"x":{{"a":0,{many},"a":0}}}}"#),
        format!(r#"{{"a":{{{many}}},"a":0,"roomId":7}}"#),
    ] {
        assert!(
            matches!(refused(&json), JsonError::DuplicateKey(_)),
            "{json}"
        );
    }
    for json in [
        format!(r#"{{"roomId":7,"x":{{{many}}},"y":{{{many}}}}}"#),
        r#"{"roomId":7,"a":{"a":{"a":[{"a":"a"},{"a":"a"}]}},"b":"a","A":1}"#.to_owned(),
    ] {
        parse::<Body>(json.as_bytes()).expect(&json);
    }
}

#[test]
fn a_doubled_key_is_named_in_one_short_line() {
    let json = format!("{{\"{0}\\n\":1,\"{0}\\n\":1}}", "k".repeat(500));
    let text = refused(&json).to_string();
    assert!(text.len() < 120 && !text.contains('\n'), "{text}");
}

#[test]
fn many_keys_cost_no_more_than_reading_them() {
    // The worst that fits into a body: compared pair by pair, these would be 30 million comparisons.
    let keys: Vec<String> = (0..8_000).map(|n| format!("\"{n}\":0")).collect();
    let json = format!("{{\"roomId\":7,\"x\":{{{}}}}}", keys.join(","));
    let mut scanner = Scanner::new(&json);
    scanner.value_of_distinct_keys(LEVELS).expect("distinct");
    let twice = json.replacen("\"0\":0", "\"7999\":0", 1);
    assert_eq!(refused(&twice), JsonError::DuplicateKey("7999".to_owned()));
}

#[test]
fn nesting_is_refused_beyond_the_limit_with_the_outermost_counted() {
    let body = |levels: usize| format!(r#"{{"roomId":7,"x":{}}}"#, nested(levels - 1));
    parse::<Body>(body(limits::JSON_DEPTH).as_bytes()).expect("not over the limit");
    for levels in [limits::JSON_DEPTH + 1, 129, 30_000] {
        assert_eq!(refused(&body(levels)), JsonError::TooDeep);
    }
    assert_eq!(refused(&"[".repeat(60_000)), JsonError::TooDeep);
    assert_eq!(refused(&"{\"a\":".repeat(10_000)), JsonError::TooDeep);
}

#[test]
fn what_is_no_json_says_where() {
    let at = |line, column| JsonError::Malformed { line, column };
    for (json, error) in [
        ("", at(1, 1)),
        ("{\n \"roomId\": x}", at(2, 12)),
        (r#"{"roomId":"x",}"#, at(1, 15)),
        (r#"{"roomId":7}}"#, at(1, 13)),
        (r#"{"name":"a","x":tru}"#, at(1, 17)),
    ] {
        assert_eq!(refused(json), error, "{json}");
    }
    assert_eq!(parse::<Body>(b"{\"a\":\"\xff\"}"), Err(at(1, 7)));
    // Sound to look at, but no number or text: found when it is read.
    for json in [r#"{"roomId":1e999}"#, r#"{"roomId":7,"name":"\ud800"}"#] {
        assert!(
            matches!(refused(json), JsonError::Malformed { .. }),
            "{json}"
        );
    }
}

#[test]
fn a_refused_field_is_named_by_its_path_and_its_value_kept_out() {
    for (json, field, code, detail) in [
        ("7", "", "invalid_type", "must be an object"),
        ("[7,null,null]", "", "invalid_type", "must be an object"),
        ("null", "", "invalid_type", "must be an object"),
        ("{}", "roomId", "required", "is missing"),
        (
            r#"{"roomId":null}"#,
            "roomId",
            "invalid_type",
            "must be an integer",
        ),
        (
            r#"{"roomId":"s3cret"}"#,
            "roomId",
            "invalid_type",
            "must be an integer",
        ),
        (
            r#"{"roomId":[7]}"#,
            "roomId",
            "invalid_type",
            "must be an integer",
        ),
        (
            r#"{"roomId":7,"name":7}"#,
            "name",
            "invalid_type",
            "must be a string",
        ),
        (
            r#"{"roomId":7,"inner":"s3cret"}"#,
            "inner",
            "invalid_type",
            "must be an object",
        ),
        (
            r#"{"roomId":7,"inner":{}}"#,
            "inner.roles",
            "required",
            "is missing",
        ),
        (
            r#"{"roomId":7,"inner":{"roles":{}}}"#,
            "inner.roles",
            "invalid_type",
            "must be an array",
        ),
        (
            r#"{"roomId":7,"inner":{"roles":["admin",1]}}"#,
            "inner.roles[1]",
            "invalid_type",
            "must be a string",
        ),
        (
            r#"{"roomId":7,"inner":{"roles":["s3cret"]}}"#,
            "inner.roles[0]",
            "invalid_value",
            "must be one of admin, member",
        ),
        (
            r#"{"roomId":7,"inner":{"roles":[],"on":"yes"}}"#,
            "inner.on",
            "invalid_type",
            "must be a boolean",
        ),
        (
            r#"{"roomId":7,"inner":{"roles":[],"at":"s3cret"}}"#,
            "inner.at",
            "invalid_value",
            "must be an RFC 3339 time",
        ),
    ] {
        assert_eq!(
            refused(json),
            JsonError::Field(FieldError::new(field, code, detail)),
            "{json}"
        );
    }
    assert_eq!(refused("{}").to_string(), "roomId is missing");
    assert_eq!(refused("7").to_string(), "the value must be an object");
}

/// Text with a chance of being nearly JSON.
fn nearly_json() -> impl Strategy<Value = String> {
    let pieces = vec![
        "{", "}", "[", "]", ",", ":", "\"a\"", "\"b\":", "\"", "\\", "\\u0041", "\\ud800", "0",
        "12", "-", ".", "e", "E+", "1e5", "null", "true", "false", " ", "\n", "\u{1}", "é", "\\n",
        "\"\\\"\"", "{\"a\":1", "[1,",
    ];
    proptest::collection::vec(proptest::sample::select(pieces), 0..16)
        .prop_map(|pieces| pieces.concat())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4_000))]

    #[test]
    fn a_scan_takes_just_what_serde_json_takes(json in nearly_json()) {
        let mut scanner = Scanner::new(&json);
        let scanned = scanner.value(LEVELS).and_then(|value| scanner.end().map(|()| value));
        let parsed = serde_json::from_str::<IgnoredAny>(&json);
        prop_assert_eq!(scanned.is_ok(), parsed.is_ok(), "{:?}", parsed);
        if let Ok(value) = scanned {
            prop_assert_eq!(value, json.trim_matches([' ', '\n']));
        }
    }

    #[test]
    fn any_text_is_read_or_refused(json in any::<String>(), bytes in any::<Vec<u8>>()) {
        let _ = parse::<Body>(json.as_bytes());
        let _ = parse::<Body>(&bytes);
        let quoted = serde_json::to_string(&json).expect("text");
        let mut scanner = Scanner::new(&quoted);
        prop_assert_eq!(scanner.value(0), Ok(quoted.as_str()));
    }

    #[test]
    fn a_key_is_doubled_just_if_two_are_equal(keys in proptest::collection::vec("[a-f]{0,2}", 0..30)) {
        let members: Vec<String> = keys.iter().map(|key| format!("\"{key}\":0")).collect();
        let json = format!("{{{}}}", members.join(","));
        let distinct: std::collections::BTreeSet<&String> = keys.iter().collect();
        prop_assert_eq!(checked(json.as_bytes(), LEVELS).is_ok(), distinct.len() == keys.len());
    }
}
