//! What is told to those who watch, and to whom.

use super::*;

#[test]
fn without_a_word_nothing_is_sent() {
    let telemetry = yaml("").unwrap().telemetry;
    assert_eq!((telemetry.metrics, telemetry.ratio, telemetry.otlp), (true, 0.01, None));
}

#[test]
fn a_collector_needs_only_an_address() {
    let otlp =
        |section: &str| yaml(&format!("telemetry: {{otlp: {section}}}")).unwrap().telemetry.otlp.unwrap();
    let plain = otlp("{endpoint: 'http://collector:4317'}");
    assert_eq!((plain.protocol, plain.traces, plain.metrics), (OtlpProtocol::Grpc, true, false));
    assert_eq!((plain.timeout, plain.interval), (Duration::from_secs(10), Duration::from_secs(60)));
    let full = otlp(
        "{endpoint: 'https://c/otlp', protocol: http, headers: {X-Key: {env: KEY}}, timeout: 1s, interval: 5s, \
         tls: {ca: {file: ca.pem}}, metrics: true, traces: false}",
    );
    assert_eq!((full.protocol, full.traces, full.metrics), (OtlpProtocol::Http, false, true));
    assert_eq!(full.headers[0].0, "x-key");
    assert_eq!(full.timeout, Duration::from_secs(1));
}

#[test]
fn what_cannot_be_meant_is_refused() {
    let refused = |section: &str, expected: &str| {
        refused_with(yaml(&format!("telemetry: {section}")), &[expected]);
    };
    refused("{traces: {ratio: 1.5}}", "telemetry.traces.ratio: must be from 0 to 1");
    refused("{traces: {ratio: .nan}}", "telemetry.traces.ratio: must be from 0 to 1");
    refused("{otlp: {endpoint: 'collector:4317'}}", "telemetry.otlp.endpoint: is no address");
    refused("{otlp: {endpoint: 'ftp://c'}}", "telemetry.otlp.endpoint: is no address");
    let with = |more: &str, expected: &str| {
        refused(&format!("{{otlp: {{endpoint: 'http://c', {more}}}}}"), expected)
    };
    with("tls: {}", "telemetry.otlp.tls: is for an `https://` endpoint");
    with("timeout: 0s", "telemetry.otlp.timeout: must be more than nothing");
    with("headers: {'a b': x}", "telemetry.otlp.headers.a b: is no header's name");
    with("protocol: thrift", "is not one of grpc, http");
    with("header: {}", "did you mean `headers`?");
}
