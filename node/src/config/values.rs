//! What single values mean: one function for each kind of value that a key takes.
//!
//! Owns: forms and bounds of values, checks of the files they name. Not: which key takes which kind.
//! Holds: an error is a sentence that goes on from the key's name and says what would be right.

use std::{
    fs,
    net::{IpAddr, SocketAddr},
    os::unix::fs::MetadataExt,
    path::PathBuf,
    str::FromStr,
    time::Duration,
};

use url::{Host, Url};

use super::{
    raw::RawValue,
    units::{nearest, parse_duration, parse_size, show_duration, show_size},
};

const LEVELS: [(&str, ()); 6] = [("off", ()), ("error", ()), ("warn", ()), ("info", ()), ("debug", ()), ("trace", ())];

/// A text without control characters, its ends trimmed.
pub(super) fn text(value: &RawValue) -> Result<&str, String> {
    match value {
        RawValue::Text(text) if text.chars().any(char::is_control) => Err("has control characters in it".to_owned()),
        RawValue::Text(text) => Ok(text.trim()),
        other => Err(format!("is {}, but a text is wanted, in quotes", kind(other))),
    }
}

fn kind(value: &RawValue) -> &'static str {
    match value {
        RawValue::Text(_) => "a text",
        RawValue::Integer(_) => "a number",
        RawValue::Boolean(_) => "true or false",
        RawValue::List(_) => "a list",
        RawValue::Other(kind) => kind,
    }
}

/// A text that is not empty and not overlong.
pub(super) fn label(value: &RawValue) -> Result<String, String> {
    match text(value)? {
        "" => Err("is empty".to_owned()),
        long if long.len() > 256 => Err("is longer than 256 bytes".to_owned()),
        text => Ok(text.to_owned()),
    }
}

/// True or false, also as a text from the environment.
pub(super) fn boolean(value: &RawValue) -> Result<bool, String> {
    match value {
        RawValue::Boolean(value) => Ok(*value),
        RawValue::Text(text) if text == "true" => Ok(true),
        RawValue::Text(text) if text == "false" => Ok(false),
        other => Err(format!("is {}, but true or false is wanted", kind(other))),
    }
}

/// A whole number from `min` to `max`.
pub(super) fn whole<T: TryFrom<i64> + PartialOrd + std::fmt::Display + Copy>(value: &RawValue, min: T, max: T) -> Result<T, String> {
    let number = match value {
        RawValue::Integer(number) => Some(*number),
        RawValue::Text(text) => text.trim().parse().ok(),
        _ => None,
    };
    let wanted = || format!("is not a whole number from {min} to {max}");
    let number = T::try_from(number.ok_or_else(wanted)?).map_err(|_| wanted())?;
    if (min..=max).contains(&number) { Ok(number) } else { Err(wanted()) }
}

/// A number of bytes with its unit, from `min` to `max`.
pub(super) fn size(value: &RawValue, min: u64, max: u64) -> Result<u64, String> {
    if matches!(value, RawValue::Integer(_)) {
        return Err("has no unit: write a size as in \"64 MiB\"".to_owned());
    }
    let bytes = parse_size(text(value)?)?;
    if (min..=max).contains(&bytes) { Ok(bytes) } else { Err(format!("is not from {} to {}", show_size(min), show_size(max))) }
}

/// A duration with its unit, from `min` to `max`.
pub(super) fn duration(value: &RawValue, min: Duration, max: Duration) -> Result<Duration, String> {
    if matches!(value, RawValue::Integer(_)) {
        return Err("has no unit: write a duration as in \"30s\"".to_owned());
    }
    let time = parse_duration(text(value)?)?;
    if (min..=max).contains(&time) { Ok(time) } else { Err(format!("is not from {} to {}", show_duration(min), show_duration(max))) }
}

/// Whatever its type reads from a text.
pub(super) fn parsed<T: FromStr>(value: &RawValue) -> Result<T, String>
where
    T::Err: std::fmt::Display,
{
    text(value)?.parse().map_err(|e: T::Err| e.to_string())
}

/// The choice of a name.
pub(super) fn one_of<T: Copy>(value: &RawValue, choices: &[(&str, T)]) -> Result<T, String> {
    let given = text(value)?;
    if let Some((_, choice)) = choices.iter().find(|(name, _)| *name == given) {
        return Ok(*choice);
    }
    let names: Vec<&str> = choices.iter().map(|(name, _)| *name).collect();
    let hint = nearest(given, names.iter().copied()).map(|n| format!("; did you mean {n:?}?")).unwrap_or_default();
    Err(format!("{given:?} is none of {}{hint}", names.join(", ")))
}

/// An IP address and a port that is not 0.
pub(super) fn address(value: &RawValue) -> Result<SocketAddr, String> {
    let given = text(value)?;
    let address: SocketAddr = given.parse().map_err(|_| format!("{given:?} is not an address with a port, as in \"127.0.0.1:7001\""))?;
    if address.port() == 0 { Err("has port 0: other nodes must know the port".to_owned()) } else { Ok(address) }
}

/// A list; a text from the environment or a flag is split at commas.
pub(super) fn list(value: &RawValue) -> Result<Vec<RawValue>, String> {
    match value {
        RawValue::List(items) => Ok(items.clone()),
        RawValue::Text(text) if text.trim().is_empty() => Ok(Vec::new()),
        RawValue::Text(text) => Ok(text.split(',').map(|item| RawValue::Text(item.trim().to_owned())).collect()),
        other => Err(format!("is {}, but a list is wanted, in [brackets]", kind(other))),
    }
}

/// A path from the root.
pub(super) fn path(value: &RawValue) -> Result<PathBuf, String> {
    let path = PathBuf::from(text(value)?);
    if path.is_absolute() {
        Ok(path)
    } else {
        Err(format!("{:?} is not a path from the root, as in \"/var/lib/kluis\"", path.display().to_string()))
    }
}

/// A file that this process can read.
pub(super) fn readable(value: &RawValue) -> Result<PathBuf, String> {
    let path = path(value)?;
    fs::File::open(&path).map_err(|e| format!("{} cannot be read: {e}", path.display()))?;
    Ok(path)
}

/// A file that only its owner, this user or root, can read.
pub(super) fn secret(value: &RawValue) -> Result<PathBuf, String> {
    let path = path(value)?;
    let shown = path.display();
    let metadata = fs::metadata(&path).map_err(|e| format!("{shown} cannot be read: {e}"))?;
    if !metadata.is_file() {
        return Err(format!("{shown} is not a file"));
    }
    let mode = metadata.mode() & 0o777;
    if mode & 0o077 != 0 {
        return Err(format!("{shown} can be read by others (mode {mode:04o}): run chmod 600 {shown}"));
    }
    let user = rustix::process::geteuid().as_raw();
    if metadata.uid() != user && metadata.uid() != 0 {
        return Err(format!("{shown} belongs to user {}, not to user {user} who runs this: run chown {user} {shown}", metadata.uid()));
    }
    fs::File::open(&path).map_err(|e| format!("{shown} cannot be read: {e}"))?;
    Ok(path)
}

/// A host: a name, or a network address.
pub(super) fn host_name(value: &RawValue) -> Result<String, String> {
    let host = label(value)?;
    let is_host = host.parse::<IpAddr>().is_ok() || Host::parse(&host).is_ok();
    if is_host { Ok(host) } else { Err(format!("{host:?} is not a host, as in \"smtp.example.org\"")) }
}

/// An https address without a path.
pub(super) fn public_address(value: &RawValue) -> Result<Url, String> {
    let url: Url = parsed(value)?;
    let plain =
        url.path() == "/" && url.query().is_none() && url.fragment().is_none() && url.username().is_empty() && url.password().is_none();
    if url.scheme() == "https" && url.has_host() && plain {
        Ok(url)
    } else {
        Err("is not of the form https://host or https://host:port".to_owned())
    }
}

/// An OpenID issuer: https, or http on loopback.
pub(super) fn issuer_address(value: &RawValue) -> Result<Url, String> {
    let url: Url = parsed(value)?;
    if url.query().is_some() || url.fragment().is_some() || !url.has_host() {
        return Err("is not an issuer: https, a host, no query".to_owned());
    }
    match url.scheme() {
        "https" => Ok(url),
        "http" if on_loopback(&url) => Ok(url),
        "http" => Err("is plain http, which is accepted on loopback only".to_owned()),
        _ => Err("is not an https address".to_owned()),
    }
}

/// Whether an address names this machine by number.
pub fn on_loopback(url: &Url) -> bool {
    match url.host() {
        Some(Host::Ipv4(ip)) => IpAddr::V4(ip).is_loopback(),
        Some(Host::Ipv6(ip)) => IpAddr::V6(ip).is_loopback(),
        Some(Host::Domain(_)) | None => false,
    }
}

/// OpenID scopes.
pub(super) fn scopes(value: &RawValue) -> Result<String, String> {
    let scope = label(value)?;
    if scope.split(' ').any(|s| s == "openid") { Ok(scope) } else { Err("does not have \"openid\" in it".to_owned()) }
}

/// A filter of log levels.
pub(super) fn level_filter(value: &RawValue) -> Result<String, String> {
    let level = label(value)?;
    // The filter itself would take a mistyped level for the name of a module.
    for part in level.split(',') {
        let name = part.rsplit_once('=').map_or(part, |(_, name)| name).trim();
        one_of(&RawValue::Text(name.to_ascii_lowercase()), &LEVELS)?;
    }
    tracing_subscriber::EnvFilter::builder()
        .parse(&level)
        .map(|_| level.clone())
        .map_err(|e| format!("{level:?} is not a level (error, warn, info, debug, trace) or a list of module=level: {e}"))
}
