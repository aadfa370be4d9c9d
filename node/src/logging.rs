//! The log: one line an event on standard error, text for people, JSON for programs.
//!
//! Owns: the form of a line. Not: what is logged (no names of documents, no keys, no numbers of people),
//! nor which level means what (ERROR: a person must act).
//! Holds: (1) times are UTC; (2) one event is one line: control characters are escaped, so that no input
//! can forge a line or drive a terminal; (3) every line carries node and site once they are known.
//! Why an own layer: fields of spans (request id, trace id) shall be members of the JSON object itself,
//! under the same names in both forms.

use std::{
    collections::BTreeMap,
    fmt::{self, Write as _},
    io::{self, IsTerminal as _, Write},
    sync::{Arc, Mutex, PoisonError},
};

use jiff::Timestamp;
use kluis_chunkstore::{
    env::Clock,
    ids::{NodeId, SiteName},
};
use serde_json::Value;
use tracing::{
    Event, Level, Subscriber,
    field::{Field, Visit},
    span::{Attributes, Id, Record},
};
use tracing_subscriber::{
    EnvFilter, Layer,
    layer::{Context, SubscriberExt as _},
    registry::LookupSpan,
    util::SubscriberInitExt as _,
};

use crate::{
    config::types::{LogConfig, LogFormat},
    exit::ExitError,
};

/// Fields by name, so that lines are the same whatever order they were recorded in.
type FieldMap = BTreeMap<String, Value>;

/// Who writes the log.
#[derive(Debug, Clone, Default)]
pub struct Writer {
    /// The node, once it is known.
    pub node: Option<NodeId>,
    /// Its site.
    pub site: Option<SiteName>,
}

/// Begins logging to standard error for the life of the process.
///
/// # Errors
/// The filter is none, or logging was begun before.
pub fn start(config: &LogConfig, writer: Writer, clock: Arc<dyn Clock>) -> Result<(), ExitError> {
    let filter = EnvFilter::builder().parse(&config.level).map_err(|e| ExitError::usage(format!("log.level: {e}"), ""))?;
    let json = match config.format {
        LogFormat::Json => true,
        LogFormat::Text => false,
        LogFormat::Auto => !io::stderr().is_terminal(),
    };
    let layer = Lines { json, writer, clock, out: Mutex::new(io::stderr()) };
    tracing_subscriber::registry().with(filter).with(layer).try_init().map_err(|e| ExitError::failed(format!("logging cannot begin: {e}")))
}

struct Lines<W> {
    json: bool,
    writer: Writer,
    clock: Arc<dyn Clock>,
    out: Mutex<W>,
}

/// Fields of a span, kept with it.
struct SpanFields(FieldMap);

impl<S, W> Layer<S> for Lines<W>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    W: Write + 'static,
{
    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, context: Context<'_, S>) {
        let mut fields = Fields(FieldMap::new());
        attributes.record(&mut fields);
        if let Some(span) = context.span(id) {
            span.extensions_mut().insert(SpanFields(fields.0));
        }
    }

    fn on_record(&self, id: &Id, values: &Record<'_>, context: Context<'_, S>) {
        let mut fields = Fields(FieldMap::new());
        values.record(&mut fields);
        if let Some(span) = context.span(id)
            && let Some(SpanFields(known)) = span.extensions_mut().get_mut::<SpanFields>()
        {
            known.extend(fields.0);
        }
    }

    fn on_event(&self, event: &Event<'_>, context: Context<'_, S>) {
        let mut fields = FieldMap::new();
        if let Some(scope) = context.event_scope(event) {
            for span in scope.from_root() {
                if let Some(SpanFields(of_span)) = span.extensions().get::<SpanFields>() {
                    fields.extend(of_span.clone());
                }
            }
        }
        let mut own = Fields(FieldMap::new());
        event.record(&mut own);
        let message = match own.0.remove("message") {
            Some(Value::String(text)) => text,
            Some(other) => other.to_string(),
            None => String::new(),
        };
        fields.extend(own.0);
        let metadata = event.metadata();
        let line = LogLine {
            time_ms: self.clock.now_ms(),
            level: *metadata.level(),
            module: metadata.target(),
            message: &message,
            writer: &self.writer,
            fields: &fields,
        };
        let text = if self.json { line.json() } else { line.text() };
        let mut out = self.out.lock().unwrap_or_else(PoisonError::into_inner);
        // Nobody is left to tell when the log itself cannot be written.
        let _ = out.write_all(text.as_bytes());
    }
}

/// What one line says.
struct LogLine<'a> {
    time_ms: u64,
    level: Level,
    module: &'a str,
    message: &'a str,
    writer: &'a Writer,
    fields: &'a FieldMap,
}

impl LogLine<'_> {
    fn time(&self) -> String {
        let time = i64::try_from(self.time_ms).ok().and_then(|ms| Timestamp::from_millisecond(ms).ok());
        // A fixed number of digits keeps lines in columns and in order.
        time.map_or_else(|| self.time_ms.to_string(), |t| format!("{t:.3}"))
    }

    fn json(&self) -> String {
        let mut object: BTreeMap<&str, Value> = BTreeMap::new();
        for (name, value) in self.fields {
            object.insert(name, value.clone());
        }
        // Own members win over fields of the same name: a caller cannot change time, node or level.
        object.insert("time", self.time().into());
        object.insert("level", self.level.as_str().into());
        object.insert("module", self.module.into());
        object.insert("message", self.message.into());
        if let Some(node) = self.writer.node {
            object.insert("node", node.to_string().into());
        }
        if let Some(site) = &self.writer.site {
            object.insert("site", site.as_str().into());
        }
        let mut line = serde_json::to_string(&object).unwrap_or_else(|_| "{}".to_owned());
        line.push('\n');
        line
    }

    fn text(&self) -> String {
        let mut line = format!("{} {:5} ", self.time(), self.level.as_str());
        if let Some(node) = self.writer.node {
            let _ = write!(line, "{node} ");
        }
        let _ = write!(line, "{}: {}", self.module, escaped(self.message));
        for (name, value) in self.fields {
            let shown = match value {
                Value::String(text) if !text.is_empty() && !text.contains([' ', '"', '=']) => escaped(text),
                Value::String(text) => format!("\"{}\"", escaped(&text.replace('\\', "\\\\").replace('"', "\\\""))),
                other => other.to_string(),
            };
            let _ = write!(line, " {name}={shown}");
        }
        line.push('\n');
        line
    }
}

/// A text with control characters, and characters that turn or hide text, written out.
pub fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        let hides = matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{2069}' | '\u{feff}');
        if c.is_control() || hides {
            out.extend(c.escape_unicode());
        } else {
            out.push(c);
        }
    }
    out
}

struct Fields(FieldMap);

impl Visit for Fields {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.0.insert(field.name().to_owned(), format!("{value:?}").into());
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.0.insert(field.name().to_owned(), value.into());
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.0.insert(field.name().to_owned(), value.into());
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.0.insert(field.name().to_owned(), value.into());
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.0.insert(field.name().to_owned(), value.into());
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        self.0.insert(field.name().to_owned(), value.into());
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn writer() -> Writer {
        Writer { node: Some(NodeId(4)), site: Some("dc2".parse().unwrap()) }
    }

    fn line<'a>(message: &'a str, fields: &'a FieldMap, writer: &'a Writer) -> LogLine<'a> {
        LogLine { time_ms: 1_700_000_000_007, level: Level::WARN, module: "kluis_node::x", message, writer, fields }
    }

    #[test]
    fn both_forms_carry_time_node_and_fields() {
        let (writer, mut fields) = (writer(), FieldMap::new());
        fields.insert("request_id".to_owned(), "ab12".into());
        fields.insert("bytes".to_owned(), 7.into());
        fields.insert("level".to_owned(), "forged".into());
        let text = line("slow disk", &fields, &writer).text();
        assert_eq!(text, "2023-11-14T22:13:20.007Z WARN  n4 kluis_node::x: slow disk bytes=7 level=forged request_id=ab12\n");
        let json: Value = serde_json::from_str(&line("slow disk", &fields, &writer).json()).unwrap();
        assert_eq!(json["node"], "n4");
        assert_eq!(json["site"], "dc2");
        assert_eq!(json["level"], "WARN");
        assert_eq!(json["time"], "2023-11-14T22:13:20.007Z");
        assert_eq!(json["bytes"], 7);
    }

    #[test]
    fn fields_of_spans_are_on_their_events() {
        struct Shared(Arc<Mutex<Vec<u8>>>);
        impl Write for Shared {
            fn write(&mut self, data: &[u8]) -> io::Result<usize> {
                self.0.lock().unwrap().extend_from_slice(data);
                Ok(data.len())
            }
            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }
        struct Fixed;
        impl Clock for Fixed {
            fn now_ms(&self) -> u64 {
                0
            }
        }
        let out = Arc::new(Mutex::new(Vec::new()));
        let layer = Lines { json: true, writer: writer(), clock: Arc::new(Fixed), out: Mutex::new(Shared(out.clone())) };
        tracing::subscriber::with_default(tracing_subscriber::registry().with(layer), || {
            let span = tracing::info_span!("request", request_id = "r1", code = tracing::field::Empty);
            span.record("code", 201);
            span.in_scope(|| tracing::info!(count = 2, "done"));
        });
        let json: Value = serde_json::from_slice(&out.lock().unwrap()).unwrap();
        assert_eq!((&json["request_id"], &json["code"], &json["count"]), (&"r1".into(), &201.into(), &2.into()));
        assert_eq!(json["message"], "done");
    }

    proptest! {
        #[test]
        fn one_event_is_one_line_without_control_characters(message in "(?s).{0,40}", field in "(?s).{0,40}") {
            let (writer, mut fields) = (writer(), FieldMap::new());
            fields.insert("f".to_owned(), field.into());
            for text in [line(&message, &fields, &writer).text(), line(&message, &fields, &writer).json()] {
                let body = text.strip_suffix('\n').unwrap();
                prop_assert!(!body.chars().any(|c| c.is_ascii_control() && c != '\u{7f}'), "{:?}", body);
            }
        }
    }
}
