//! Metrics of the HTTP side, in Prometheus' text form.
//!
//! Owns: the metrics and their names. Not: metrics of disks and consensus, which the node registers in the
//! same registry.
//! Holds: (1) labels come from closed sets, so that a stranger cannot make new series; (2) names are an
//! interface: a test pins them.

use prometheus::{Encoder, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry, TextEncoder};

/// All metrics of one gateway.
pub struct Telemetry {
    /// Where the node registers its own metrics too.
    pub registry: Registry,
    requests: IntCounterVec,
    duration: HistogramVec,
    inflight: IntGauge,
    document_bytes: IntCounterVec,
    connections: IntGauge,
    connections_refused: IntCounterVec,
    problems: IntCounterVec,
    uploads_aborted: IntCounter,
    reduced: IntCounter,
}

/// Which way document bytes went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// From a client.
    In,
    /// To a client.
    Out,
}

/// Why a connection was refused or cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ConnectionRefusal {
    /// Its address holds too many.
    Address,
    /// There are too many in all.
    Total,
    /// The TLS handshake failed or took too long.
    Handshake,
    /// No request came in time.
    Idle,
}

impl ConnectionRefusal {
    fn label(self) -> &'static str {
        match self {
            Self::Address => "address",
            Self::Total => "total",
            Self::Handshake => "handshake",
            Self::Idle => "idle",
        }
    }
}

/// Seconds; from a cached list to a document of gigabytes.
const BUCKETS: &[f64] = &[0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0];

impl Telemetry {
    /// The metrics, registered in a registry of their own. `version` and `commit` describe the program.
    ///
    /// # Errors
    /// Never in practice: the names are constants and valid.
    pub fn new(version: &str, commit: &str) -> Result<Self, prometheus::Error> {
        let registry = Registry::new();
        let build = IntGaugeVec::new(Opts::new("kluis_build_info", "What runs: always 1."), &["version", "commit"])?;
        build.with_label_values(&[version, commit]).set(1);
        let telemetry = Self {
            requests: IntCounterVec::new(Opts::new("kluis_http_requests_total", "Answered requests."), &["route", "method", "class"])?,
            duration: HistogramVec::new(
                HistogramOpts::new("kluis_http_request_duration_seconds", "Time from the head of a request to the head of its answer.")
                    .buckets(BUCKETS.to_vec()),
                &["route", "method"],
            )?,
            inflight: IntGauge::new("kluis_http_inflight_requests", "Requests being answered.")?,
            document_bytes: IntCounterVec::new(
                Opts::new("kluis_document_bytes_total", "Plaintext bytes of documents moved."),
                &["direction"],
            )?,
            connections: IntGauge::new("kluis_http_connections", "Open connections.")?,
            connections_refused: IntCounterVec::new(
                Opts::new("kluis_http_connections_refused_total", "Connections refused or cut before a request."),
                &["reason"],
            )?,
            problems: IntCounterVec::new(Opts::new("kluis_http_problems_total", "Error answers by code."), &["code"])?,
            uploads_aborted: IntCounter::new("kluis_uploads_aborted_total", "Uploads that ended without a version.")?,
            reduced: IntCounter::new("kluis_uploads_reduced_total", "Uploads acknowledged with reduced redundancy.")?,
            registry,
        };
        let r = &telemetry.registry;
        r.register(Box::new(build))?;
        r.register(Box::new(telemetry.requests.clone()))?;
        r.register(Box::new(telemetry.duration.clone()))?;
        r.register(Box::new(telemetry.inflight.clone()))?;
        r.register(Box::new(telemetry.document_bytes.clone()))?;
        r.register(Box::new(telemetry.connections.clone()))?;
        r.register(Box::new(telemetry.connections_refused.clone()))?;
        r.register(Box::new(telemetry.problems.clone()))?;
        r.register(Box::new(telemetry.uploads_aborted.clone()))?;
        r.register(Box::new(telemetry.reduced.clone()))?;
        // Counters that alerts rest on exist from the start, at zero.
        for direction in ["in", "out"] {
            telemetry.document_bytes.with_label_values(&[direction]).inc_by(0);
        }
        Ok(telemetry)
    }

    /// Counts a request in until the guard is dropped.
    pub fn request_begins(&self) -> Counted {
        Counted::new(&self.inflight)
    }

    /// Counts an answer. `route` is the pattern that matched, or `none`.
    pub fn request_ends(&self, route: &str, method: &http::Method, status: http::StatusCode, seconds: f64) {
        let method = method_label(method);
        self.requests.with_label_values(&[route, method, class_label(status)]).inc();
        self.duration.with_label_values(&[route, method]).observe(seconds);
    }

    /// Counts an error answer.
    pub fn problem(&self, code: crate::problem::Code) {
        self.problems.with_label_values(&[code.as_str()]).inc();
    }

    /// Counts bytes of documents.
    pub fn document_bytes(&self, direction: Direction, bytes: usize) {
        let label = match direction {
            Direction::In => "in",
            Direction::Out => "out",
        };
        self.document_bytes.with_label_values(&[label]).inc_by(u64::try_from(bytes).unwrap_or(u64::MAX));
    }

    /// Counts a connection until the guard is dropped.
    pub fn connection_opens(&self) -> Counted {
        Counted::new(&self.connections)
    }

    /// Counts a refused connection.
    pub fn connection_refused(&self, why: ConnectionRefusal) {
        self.connections_refused.with_label_values(&[why.label()]).inc();
    }

    /// Counts an upload that ended without a version.
    pub fn upload_aborted(&self) {
        self.uploads_aborted.inc();
    }

    /// Counts an upload with reduced redundancy.
    pub fn upload_reduced(&self) {
        self.reduced.inc();
    }

    /// Everything in the registry, as text.
    ///
    /// # Errors
    /// When a metric was registered with invalid text.
    pub fn render(&self) -> Result<Vec<u8>, prometheus::Error> {
        let mut text = Vec::new();
        TextEncoder::new().encode(&self.registry.gather(), &mut text)?;
        Ok(text)
    }
}

/// Holds a gauge up by one.
pub struct Counted(IntGauge);

impl Counted {
    fn new(gauge: &IntGauge) -> Self {
        gauge.inc();
        Self(gauge.clone())
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.dec();
    }
}

fn method_label(method: &http::Method) -> &'static str {
    match method.as_str() {
        "GET" => "GET",
        "HEAD" => "HEAD",
        "POST" => "POST",
        "PUT" => "PUT",
        "PATCH" => "PATCH",
        "DELETE" => "DELETE",
        "OPTIONS" => "OPTIONS",
        _ => "other",
    }
}

fn class_label(status: http::StatusCode) -> &'static str {
    match status.as_u16() {
        100..=199 => "1xx",
        200..=299 => "2xx",
        300..=399 => "3xx",
        400..=499 => "4xx",
        _ => "5xx",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_pinned_and_labels_closed() {
        let telemetry = Telemetry::new("0.1.0", "abc").unwrap();
        let odd = http::Method::from_bytes(b"X-ANYTHING").unwrap();
        telemetry.request_ends("/v1/me", &odd, http::StatusCode::OK, 0.01);
        telemetry.problem(crate::problem::Code::NotFound);
        telemetry.connection_refused(ConnectionRefusal::Address);
        drop(telemetry.request_begins());
        let text = String::from_utf8(telemetry.render().unwrap()).unwrap();
        let mut names: Vec<&str> = text.lines().filter_map(|l| l.strip_prefix("# TYPE ")?.split(' ').next()).collect();
        names.sort_unstable();
        assert_eq!(
            names,
            [
                "kluis_build_info",
                "kluis_document_bytes_total",
                "kluis_http_connections",
                "kluis_http_connections_refused_total",
                "kluis_http_inflight_requests",
                "kluis_http_problems_total",
                "kluis_http_request_duration_seconds",
                "kluis_http_requests_total",
                "kluis_uploads_aborted_total",
                "kluis_uploads_reduced_total",
            ]
        );
        assert!(!text.contains("X-ANYTHING") && text.contains("kluis_http_inflight_requests 0"));
    }
}
