//! The settings: who lets producers and workers in, and how often they may do what. From the file of `--auth-config` and from the
//! environment, under codeQ's names.
//!
//! What a provider takes is codeQ's JSON, in TOML too. What codeQ would pass over is refused here: fields that nobody reads, and two
//! places that say different things.

use super::claims::Claims;
pub use super::fields::AuthConfigError;
use super::fields::{At, Fields, Read};
use super::issuer::IssuerConfig;
use super::limits::{Rate, Rates};
use super::tokens::StaticToken;
use serde_json::{Map, Value};
use std::collections::BTreeSet;
use std::ffi::OsString;
use std::path::Path;

/// Each request is compared with all of them.
const TOKENS_MAX: usize = 1_000;

/// Who is let in, checked. The default lets nobody in.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AuthConfig {
    pub(super) producer: SideConfig,
    pub(super) worker: SideConfig,
    pub(super) allow_producer_as_worker: bool,
    pub(super) rates: Rates,
}

/// What the tokens of one side are accepted by: nothing, one provider, or any of several.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct SideConfig {
    /// In the order in which they are asked.
    pub(super) providers: Vec<ProviderConfig>,
    /// Whether `multi` named them.
    pub(super) multi: bool,
}

/// What a token is accepted by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum ProviderConfig {
    /// Being one of these.
    Static(Vec<StaticToken>),
    /// A signature of this issuer.
    Jwks(IssuerConfig),
}

impl AuthConfig {
    /// Reads the file, if one is named, and the variables of codeQ. One side is set in one of the two only.
    pub fn load(
        file: Option<&Path>,
        environment: impl Fn(&str) -> Option<OsString>,
    ) -> Result<AuthConfig, AuthConfigError> {
        let mut config = file.map(from_file).transpose()?.unwrap_or_default();
        for (side, name) in [(&mut config.producer, "PRODUCER"), (&mut config.worker, "WORKER")] {
            let Some(found) = from_environment(name, &environment)? else { continue };
            if !side.providers.is_empty() {
                let at = At::new(format!("{name}_AUTH_PROVIDER"));
                return at
                    .refuse(format_args!("and {} of --auth-config exclude each other", name.to_lowercase()));
            }
            *side = found;
        }
        match allowed(&environment)? {
            Some(false) if config.allow_producer_as_worker => {
                let at = At::new("ALLOW_PRODUCER_AS_WORKER");
                return at.refuse("is false, and allow-producer-as-worker of --auth-config is true");
            }
            allowed => config.allow_producer_as_worker |= allowed.unwrap_or_default(),
        }
        if config.allow_producer_as_worker && config.producer.providers.is_empty() {
            let at = At::new("allow-producer-as-worker (ALLOW_PRODUCER_AS_WORKER)");
            return at.refuse("needs a producer: nothing says who is one");
        }
        Ok(config)
    }
}

fn from_file(path: &Path) -> Read<AuthConfig> {
    let at = At::new(format!("--auth-config {}:", path.display()));
    let text = std::fs::read_to_string(path).map_err(|error| at.error(error))?;
    let value = match path.extension().and_then(|extension| extension.to_str()) {
        Some("toml") => toml::from_str(&text).map_err(|error| toml_error(&at, &text, &error))?,
        Some("json") => json(&at, &text)?,
        _ => return at.refuse("must end in .toml or .json"),
    };
    let mut fields = Fields::of(at, value)?;
    let config = AuthConfig {
        producer: fields.table("producer")?.map(side).transpose()?.unwrap_or_default(),
        worker: fields.table("worker")?.map(side).transpose()?.unwrap_or_default(),
        allow_producer_as_worker: fields.flag("allow-producer-as-worker")?,
        rates: fields.table("rate-limits")?.map(rates).transpose()?.unwrap_or_default(),
    };
    fields.end()?;
    Ok(config)
}

/// Without the lines that the parser would show: they may hold a token.
fn toml_error(at: &At, text: &str, error: &toml::de::Error) -> AuthConfigError {
    let before = error.span().and_then(|span| text.get(..span.start)).unwrap_or_default();
    at.error(format_args!("line {}: {}", before.matches('\n').count() + 1, error.message()))
}

fn json(at: &At, text: &str) -> Read<Value> {
    serde_json::from_str(text).map_err(|error| at.error(format_args!("is no JSON: {error}")))
}

/// A variable that is set to something.
fn variable(name: &str, environment: &impl Fn(&str) -> Option<OsString>) -> Read<Option<String>> {
    let Some(value) = environment(name).filter(|value| !value.is_empty()) else { return Ok(None) };
    value.into_string().map(Some).map_err(|_| At::new(name).error("is no UTF-8"))
}

fn from_environment(side: &str, environment: &impl Fn(&str) -> Option<OsString>) -> Read<Option<SideConfig>> {
    let names = ["PROVIDER", "CONFIG"].map(|end| format!("{side}_AUTH_{end}"));
    let [provider, config] = &names;
    match (variable(provider, environment)?, variable(config, environment)?) {
        (None, None) => Ok(None),
        (None, Some(_)) => At::new(config).refuse(format_args!("needs {provider}")),
        (Some(_), None) => At::new(provider).refuse(format_args!("needs {config}")),
        (Some(kind), Some(text)) => {
            let value = json(&At::new(config), &text)?;
            of_kind(&At::new(provider), kind.trim(), At::new(config), value).map(Some)
        }
    }
}

fn allowed(environment: &impl Fn(&str) -> Option<OsString>) -> Read<Option<bool>> {
    let name = "ALLOW_PRODUCER_AS_WORKER";
    match variable(name, environment)?.map(|value| value.to_lowercase()).as_deref() {
        None => Ok(None),
        Some("true" | "1" | "yes") => Ok(Some(true)),
        Some("false" | "0" | "no") => Ok(Some(false)),
        Some(_) => At::new(name).refuse("must be true or false"),
    }
}

/// `{ type, config }`.
fn side(mut fields: Fields) -> Read<SideConfig> {
    let kind = fields.required("type")?;
    let (at_kind, at) = (fields.at("type"), fields.at("config"));
    let Some(config) = fields.value("config") else { return at.refuse("is missing") };
    fields.end()?;
    of_kind(&at_kind, &kind, at, config)
}

fn of_kind(at_kind: &At, kind: &str, at: At, config: Value) -> Read<SideConfig> {
    let provider = match kind {
        "static" => ProviderConfig::Static(static_tokens(&at, config)?),
        "jwks" => ProviderConfig::Jwks(IssuerConfig::read(Fields::of(at, config)?)?),
        "multi" => return multi(Fields::of(at, config)?),
        _ => return at_kind.refuse("must be static, jwks or multi"),
    };
    Ok(SideConfig { providers: vec![provider], multi: false })
}

/// One token, or a list of them.
fn static_tokens(at: &At, config: Value) -> Read<Vec<StaticToken>> {
    let tokens = match config {
        Value::Array(list) if list.is_empty() || list.len() > TOKENS_MAX => {
            return at.refuse(format_args!("must have 1..={TOKENS_MAX} tokens, not {}", list.len()));
        }
        Value::Array(list) => {
            let token = |(index, value)| static_token(at.element(index), value);
            list.into_iter().enumerate().map(token).collect::<Read<Vec<_>>>()?
        }
        one => vec![static_token(at.clone(), one)?],
    };
    let mut hashes = BTreeSet::new();
    match tokens.iter().position(|token| !hashes.insert(token.hash())) {
        Some(index) => at.element(index).refuse("has the token of one before it"),
        None => Ok(tokens),
    }
}

/// A text is a token about which there is no more to say.
fn static_token(at: At, value: Value) -> Read<StaticToken> {
    let mut fields = match value {
        Value::String(token) => {
            Fields::of(at, Value::Object(Map::from_iter([("token".to_owned(), token.into())])))?
        }
        value => Fields::of(at, value)?,
    };
    let token = fields.required("token")?;
    let subject = fields.text("subject")?.map(|subject| subject.trim().to_owned());
    let claims = Claims::new(
        subject.filter(|subject| !subject.is_empty()).unwrap_or_else(|| "static".to_owned()),
        fields.text("email")?,
        fields.texts("scopes")?.into_iter().collect(),
        fields.texts("eventTypes")?,
        &fields.map("raw")?,
    );
    fields.end()?;
    Ok(StaticToken::new(&token, claims))
}

fn multi(mut fields: Fields) -> Read<SideConfig> {
    let at = fields.at("providers");
    let Some(Value::Array(list)) = fields.value("providers") else {
        return at.refuse("must be a list of providers");
    };
    fields.end()?;
    if !(2..=4).contains(&list.len()) {
        return at.refuse(format_args!("must have 2..=4 of them, not {}", list.len()));
    }
    let mut providers = Vec::new();
    for (index, value) in list.into_iter().enumerate() {
        let one = side(Fields::of(at.element(index), value)?)?;
        if one.multi {
            return at.element(index).field("type").refuse("must be static or jwks within multi");
        }
        providers.extend(one.providers);
    }
    Ok(SideConfig { providers, multi: true })
}

fn rates(mut fields: Fields) -> Read<Rates> {
    let mut rate = |side| fields.table(side)?.map(rate).transpose();
    let rates = Rates { producer: rate("producer")?, worker: rate("worker")?, admin: rate("admin")? };
    fields.end()?;
    Ok(rates)
}

fn rate(mut fields: Fields) -> Read<Rate> {
    let per_minute = fields.number("requests-per-minute", 1..=60_000_000)?;
    let burst = fields.number("burst", 1..=60_000_000)?;
    fields.end()?;
    Ok(Rate { per_minute: per_minute as u32, burst: burst as u32 })
}

#[cfg(test)]
#[path = "config_tests.rs"]
mod tests;
