//! The OpenAPI document: what the handlers' annotations say, and what follows from the API's conventions.
//!
//! An annotation names the error codes that are the operation's own. Those that follow from its shape (it is signed in, it
//! has a body, an id in its path, a query) are added here, as are ids in paths.

use std::collections::BTreeMap;

use chat_core::protocol::{ErrorCode, Problem, paths};
use serde_json::{Value, json};
use utoipa::openapi::extensions::Extensions;
use utoipa::openapi::path::{
    HttpMethod, Operation, OperationBuilder, Parameter, ParameterBuilder, ParameterIn, PathItem,
};
use utoipa::openapi::schema::{KnownFormat, ObjectBuilder, SchemaFormat, Type};
use utoipa::openapi::security::{Http, HttpAuthScheme, SecurityRequirement, SecurityScheme};
use utoipa::openapi::{
    ContentBuilder, Info, License, OpenApi, Ref, RefOr, Required, Response, ResponseBuilder,
};
use utoipa::{PartialSchema as _, ToSchema as _};

use crate::config::Roles;
use crate::http::{self, PROBLEM_JSON, Surface};

/// The codes that an operation may fail with, its own at first and in the end all of them.
const ERROR_CODES: &str = "x-error-codes";
/// An operation asks someone signed in for a password: a wrong one is 403.
const WRONG_PASSWORD: &str = "x-wrong-password";

/// The document of everything that this build serves on one port.
#[must_use]
pub fn document() -> OpenApi {
    let (_, document) = http::calls(&Surface {
        roles: Roles::all(),
        has_accounts: true,
        has_webhooks: true,
        has_operations: true,
    });
    document
}

/// Adds to the annotations what follows from the conventions.
pub(crate) fn complete(mut document: OpenApi) -> OpenApi {
    let mut info = Info::new("Chat", env!("CARGO_PKG_VERSION"));
    info.description = Some(include_str!("openapi.md").to_owned());
    info.license = Some(License::new("MIT OR Apache-2.0"));
    document.info = info;
    let components = document.components.get_or_insert_default();
    let bearer = SecurityScheme::Http(
        Http::builder()
            .scheme(HttpAuthScheme::Bearer)
            .bearer_format("JWT")
            .build(),
    );
    components.add_security_scheme("bearer", bearer);
    components
        .schemas
        .insert(Problem::name().into_owned(), Problem::schema());
    let mut schemas = Vec::new();
    Problem::schemas(&mut schemas);
    components.schemas.extend(schemas);
    for (path, item) in &mut document.paths.paths {
        for operation in operations(item) {
            complete_operation(path, operation);
        }
    }
    document
}

/// Adds the hub's two paths, which answer errors as `text/plain`, one line `<code>: <detail>`.
pub(crate) fn add_hub(document: &mut OpenApi) {
    let negotiate = hub_operation("negotiate", "Negotiate a hub connection")
        .description(Some(
            "SignalR's negotiation: the connection's token, and the transports to choose from.",
        ))
        .parameter(hub_parameter(
            "negotiateVersion",
            "SignalR's version of the negotiation, 0 or 1",
        ))
        .response("200", Response::new("The offer, or `error`"));
    let connect = hub_operation("connect", "Open a hub connection")
        .description(Some(
            "A WebSocket upgrade; then SignalR's handshake and messages, in both directions.",
        ))
        .parameter(hub_parameter(
            "id",
            "The connection's token; without one a new connection",
        ))
        .response("101", Response::new("The WebSocket"));
    let paths = &mut document.paths;
    paths.add_path_operation(paths::NEGOTIATE, vec![HttpMethod::Post], negotiate.build());
    paths.add_path_operation(paths::HUB, vec![HttpMethod::Get], connect.build());
}

fn hub_operation(id: &str, summary: &str) -> OperationBuilder {
    let refusals = [
        ("400", "invalid_request"),
        ("401", "unauthenticated"),
        ("401", "token_expired"),
        ("403", "forbidden"),
        ("404", "not_found"),
        ("409", "conflict"),
        ("503", "unavailable"),
    ];
    let mut by_status: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    for (status, code) in refusals {
        by_status
            .entry(status)
            .or_default()
            .push(format!("`{code}`"));
    }
    let mut operation = OperationBuilder::new()
        .operation_id(Some(id))
        .summary(Some(summary))
        .tag("Hub")
        .security(SecurityRequirement::new::<_, [&str; 0], &str>("bearer", []))
        .parameter(hub_parameter(
            "access_token",
            "The access token, for those who can't send headers",
        ))
        .extensions(Some(
            Extensions::builder()
                .add(ERROR_CODES, json!(refusals.map(|(_, code)| code)))
                .build(),
        ));
    for (status, codes) in by_status {
        let text = ObjectBuilder::new().schema_type(Type::String);
        let content = ContentBuilder::new().schema(Some(text)).build();
        let response = ResponseBuilder::new()
            .description(codes.join(", "))
            .content("text/plain", content);
        operation = operation.response(status, response);
    }
    operation
}

fn hub_parameter(name: &str, description: &str) -> ParameterBuilder {
    ParameterBuilder::new()
        .name(name)
        .description(Some(description))
        .parameter_in(ParameterIn::Query)
        .required(Required::False)
        .schema(Some(ObjectBuilder::new().schema_type(Type::String)))
}

fn operations(item: &mut PathItem) -> impl Iterator<Item = &mut Operation> {
    [
        &mut item.get,
        &mut item.post,
        &mut item.patch,
        &mut item.delete,
    ]
    .into_iter()
    .filter_map(Option::as_mut)
}

fn complete_operation(path: &str, operation: &mut Operation) {
    operation.operation_id = operation.operation_id.as_deref().map(camel_case);
    let ids: Vec<_> = path.split('/').filter_map(path_id).collect();
    let has_query = operation.parameters.is_some();
    let is_signed_in = operation.security.is_some();

    let mut codes = vec![ErrorCode::Internal, ErrorCode::Unavailable];
    if is_signed_in {
        codes.extend([
            ErrorCode::Unauthenticated,
            ErrorCode::TokenExpired,
            ErrorCode::PayloadTooLarge,
        ]);
    }
    if operation.request_body.is_some() {
        codes.extend([
            ErrorCode::InvalidRequest,
            ErrorCode::PayloadTooLarge,
            ErrorCode::UnsupportedMediaType,
            ErrorCode::ValidationFailed,
        ]);
    }
    if has_query {
        codes.push(ErrorCode::ValidationFailed);
    }
    if !ids.is_empty() {
        codes.push(ErrorCode::NotFound);
    }
    let extensions = operation.extensions.get_or_insert_default();
    if let Some(own) = extensions.get(ERROR_CODES) {
        codes.extend(own_codes(own));
    }
    let mut by_status: BTreeMap<u16, Vec<ErrorCode>> = BTreeMap::new();
    for code in codes {
        by_status.entry(code.status()).or_default().push(code);
    }
    if extensions.remove(WRONG_PASSWORD).is_some() {
        by_status
            .entry(403)
            .or_default()
            .push(ErrorCode::InvalidCredentials);
    }
    for codes in by_status.values_mut() {
        codes.sort_unstable_by_key(|code| code.as_str());
        codes.dedup();
    }
    let all: Vec<_> = by_status.values().flatten().collect();
    extensions.insert(ERROR_CODES.to_owned(), json!(all));
    for (status, codes) in by_status {
        operation
            .responses
            .responses
            .insert(status.to_string(), RefOr::T(problem(&codes)));
    }
    if !ids.is_empty() {
        operation
            .parameters
            .get_or_insert_default()
            .splice(..0, ids.into_iter().map(RefOr::T));
    }
}

fn own_codes(value: &Value) -> Vec<ErrorCode> {
    // The annotations are written with `ErrorCode`s, so there is nothing to fail.
    serde_json::from_value(value.clone()).unwrap_or_default()
}

/// The parameter of a path's segment `{roomId}`.
fn path_id(segment: &str) -> Option<Parameter> {
    let name = segment.strip_prefix('{')?.strip_suffix('}')?;
    let id = ObjectBuilder::new()
        .schema_type(Type::Integer)
        .format(Some(SchemaFormat::KnownFormat(KnownFormat::Int64)))
        .minimum(Some(1));
    Some(
        ParameterBuilder::new()
            .name(name)
            .parameter_in(ParameterIn::Path)
            .required(Required::True)
            .schema(Some(id))
            .build(),
    )
}

fn problem(codes: &[ErrorCode]) -> Response {
    let codes: Vec<_> = codes.iter().map(|code| format!("`{code}`")).collect();
    ResponseBuilder::new()
        .description(codes.join(", "))
        .content(
            PROBLEM_JSON,
            ContentBuilder::new()
                .schema(Some(Ref::from_schema_name(Problem::name())))
                .build(),
        )
        .build()
}

/// `create_room` is `createRoom`.
fn camel_case(name: &str) -> String {
    let mut out = String::with_capacity(name.len());
    let mut is_upper = false;
    for c in name.chars() {
        match c {
            '_' => is_upper = true,
            c if is_upper => {
                out.push(c.to_ascii_uppercase());
                is_upper = false;
            }
            c => out.push(c),
        }
    }
    out
}
