//! The table of APIs.

use std::fmt::Write as _;

use crate::schema::{Message, THROTTLE_TIME, Versions};

/// Below every file of a request stands one of the response.
struct Api<'a> {
    name: &'a str,
    key: i16,
    request: &'a Message,
    response: &'a Message,
}

pub(crate) fn file(messages: &[Message]) -> String {
    let mut apis: Vec<Api<'_>> = Vec::new();
    for request in messages.iter().filter(|message| message.kind == "request") {
        let name = request.name.strip_suffix("Request").expect("a request is called so");
        let wanted = format!("{name}Response");
        let response = messages.iter().find(|message| message.name == wanted);
        let response = response.unwrap_or_else(|| panic!("no {wanted}"));
        assert_eq!(request.valid_versions, response.valid_versions, "{name}");
        let key = request.api_key.expect("a request has an API key");
        apis.push(Api { name, key, request, response });
    }
    apis.sort_by_key(|api| api.key);
    let mut variants = String::new();
    let mut numbers = String::new();
    let mut rows = String::new();
    for Api { name, key, request, response } in &apis {
        let Versions { low, high } = request.valid_versions;
        // Infallible: the text is in memory.
        let _ = writeln!(variants, "/// `{name}`, versions {low} to {high}.\n{name} = {key},");
        let _ = writeln!(numbers, "{key} => Some(ApiKey::{name}),");
        let _ = writeln!(
            rows,
            "ApiKey::{name} => ApiSpec::new({name:?}, [{low}, {high}], [{}, {}], {}, [{}, {}], \
             {}),",
            flexible_from(request),
            flexible_from(response),
            throttle_time_from(response),
            request.listeners.iter().any(|listener| listener == "broker"),
            request.listeners.iter().any(|listener| listener == "controller"),
            request.latest_version_unstable
        );
    }
    let list: Vec<_> = apis.iter().map(|api| format!("ApiKey::{}", api.name)).collect();
    TEMPLATE
        .replace("@VARIANTS@", &variants)
        .replace("@NUMBERS@", &numbers)
        .replace("@ROWS@", &rows)
        .replace("@COUNT@", &list.len().to_string())
        .replace("@LIST@", &list.join(", "))
}

fn flexible_from(message: &Message) -> String {
    match message.flexible_versions.and(message.valid_versions) {
        versions if versions.is_empty() => "i16::MAX".to_owned(),
        versions => versions.low.to_string(),
    }
}

fn throttle_time_from(response: &Message) -> String {
    let field = response.fields.iter().find(|field| field.name == THROTTLE_TIME);
    field.map_or("i16::MAX".to_owned(), |field| {
        let versions = field.versions.and(response.valid_versions);
        assert_eq!(versions.high, response.valid_versions.high, "{}: dropped", response.name);
        versions.low.to_string()
    })
}

const TEMPLATE: &str = r#"//! The APIs of Kafka's protocol: numbers, names and versions.

/// An API, by its number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(i16)]
pub enum ApiKey {
@VARIANTS@}

/// A kind of listener that requests arrive on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ListenerKind {
    /// Of a broker: for clients and other brokers.
    Broker,
    /// Of a controller.
    Controller,
}

/// What the schemas say of an API.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ApiSpec {
    /// Its name.
    pub name: &'static str,
    /// Its lowest version.
    pub min_version: i16,
    /// Its highest version.
    pub max_version: i16,
    /// The first version whose request is flexible (KIP-482); `i16::MAX` if none is.
    pub request_flexible_from: i16,
    /// The same for its response.
    pub response_flexible_from: i16,
    /// The first version whose response has `throttle_time_ms`; `i16::MAX` if none has.
    pub throttle_time_from: i16,
    /// Whether a broker's listener takes it, and whether a controller's does.
    pub listeners: [bool; 2],
    /// Whether the highest version may still change, and should not be offered.
    pub latest_version_unstable: bool,
}

impl ApiSpec {
    const fn new(
        name: &'static str,
        versions: [i16; 2],
        flexible_from: [i16; 2],
        throttle_time_from: i16,
        listeners: [bool; 2],
        latest_version_unstable: bool,
    ) -> ApiSpec {
        let [min_version, max_version] = versions;
        let [request_flexible_from, response_flexible_from] = flexible_from;
        ApiSpec {
            name,
            min_version,
            max_version,
            request_flexible_from,
            response_flexible_from,
            throttle_time_from,
            listeners,
            latest_version_unstable,
        }
    }
}

impl ApiKey {
    /// Every API, by number.
    pub const ALL: [ApiKey; @COUNT@] = [@LIST@];

    /// The API of a number.
    pub const fn from_number(number: i16) -> Option<ApiKey> {
        match number {
            @NUMBERS@
            _ => None,
        }
    }

    /// Its number.
    pub const fn number(self) -> i16 {
        self as i16
    }

    /// Its name.
    pub const fn name(self) -> &'static str {
        self.spec().name
    }

    /// Its lowest version.
    pub const fn min_version(self) -> i16 {
        self.spec().min_version
    }

    /// Its highest version.
    pub const fn max_version(self) -> i16 {
        self.spec().max_version
    }

    /// Whether a request of this version, and so its header, is flexible.
    pub const fn is_flexible_request(self, version: i16) -> bool {
        version >= self.spec().request_flexible_from
    }

    /// Whether a response of this version is flexible.
    pub const fn is_flexible_response(self, version: i16) -> bool {
        version >= self.spec().response_flexible_from
    }

    /// Whether the header of a response of this version is flexible: as the response is, except
    /// that ApiVersions' never is (KIP-511).
    pub const fn has_flexible_response_header(self, version: i16) -> bool {
        !matches!(self, ApiKey::ApiVersions) && self.is_flexible_response(version)
    }

    /// Whether a response of this version has `throttle_time_ms`.
    pub const fn has_throttle_time(self, version: i16) -> bool {
        version >= self.spec().throttle_time_from
    }

    /// Whether a listener of this kind takes it.
    pub const fn is_taken_by(self, listener: ListenerKind) -> bool {
        self.spec().listeners[listener as usize]
    }

    /// What the schemas say of it.
    pub const fn spec(self) -> ApiSpec {
        match self {
            @ROWS@
        }
    }
}
"#;
