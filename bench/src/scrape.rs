//! Prometheus' text form, as far as sums over some of its lines need it.
//!
//! Owns: finding a metric's lines, its labels and values. Not: where the text comes from
//! ([`crate::cluster`]). Holds: a metric whose name only begins with the one asked for is not counted.

/// The sum of a metric over the lines whose labels `wanted` takes. Labels come as they stand between the braces.
pub fn sum(text: &str, name: &str, wanted: impl Fn(&str) -> bool) -> f64 {
    text.lines().filter_map(|line| sample(line, name)).filter(|(labels, _)| wanted(labels)).map(|(_, value)| value).sum()
}

/// The value of one label.
pub fn label<'a>(labels: &'a str, name: &str) -> Option<&'a str> {
    // Values here are ids, names of sites and words: none has a comma, a quote or an escape in it.
    let of = |pair: &'a str| pair.strip_prefix(name)?.strip_prefix("=\"")?.strip_suffix('"');
    labels.split(',').find_map(of)
}

fn sample<'a>(line: &'a str, name: &str) -> Option<(&'a str, f64)> {
    let rest = line.strip_prefix(name)?;
    if let Some(rest) = rest.strip_prefix('{') {
        let (labels, value) = rest.split_once('}')?;
        return Some((labels, value.trim().parse().ok()?));
    }
    Some(("", rest.strip_prefix(' ')?.trim().parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "# HELP a b\n\
        kluis_disk_shards{disk=\"1\"} 4\n\
        kluis_disk_shards{disk=\"2\"} 5\n\
        kluis_disk_shards_total 100\n\
        kluis_peer_bytes_total{direction=\"sent\",node=\"n2\",site=\"dc1\"} 7\n\
        kluis_peer_bytes_total{direction=\"sent\",node=\"n4\",site=\"dc2\"} 1e3\n\
        kluis_peer_bytes_total{direction=\"received\",node=\"n4\",site=\"dc2\"} 9\n\
        kluis_up 1\n";

    #[test]
    fn only_the_named_metric_is_summed() {
        assert_eq!(sum(TEXT, "kluis_disk_shards", |_| true), 9.0);
        assert_eq!(sum(TEXT, "kluis_up", |_| true), 1.0);
        assert_eq!(sum(TEXT, "kluis_absent", |_| true), 0.0);
    }

    #[test]
    fn labels_choose_lines() {
        let leaves = |labels: &str| label(labels, "direction") == Some("sent") && label(labels, "site") != Some("dc1");
        assert_eq!(sum(TEXT, "kluis_peer_bytes_total", leaves), 1_000.0);
        assert_eq!(label("a=\"1\",b=\"2\"", "b"), Some("2"));
        assert_eq!(label("ab=\"1\"", "a"), None);
    }
}
