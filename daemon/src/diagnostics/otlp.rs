//! Spans to an OpenTelemetry collector: OTLP over HTTP, in batches, by a thread of its own.

use std::time::Duration;

use anyhow::Context;
use opentelemetry::trace::TracerProvider;
use opentelemetry_otlp::{SpanExporter, WithExportConfig, WithHttpConfig};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::SdkTracerProvider;
use tracing_subscriber::Layer;
use tracing_subscriber::filter::{LevelFilter, Targets};

use super::Said;

/// How long a collector may take for a batch.
const TIMEOUT: Duration = Duration::from_secs(10);

/// Sends what is left when it is dropped.
pub(super) struct Exporter(SdkTracerProvider);

impl Drop for Exporter {
    fn drop(&mut self) {
        if let Err(error) = self.0.shutdown() {
            eprintln!("minivaultd: the last spans could not be sent: {error}");
        }
    }
}

/// What sends this daemon's own spans there.
///
/// # Errors
/// That is no address, or there can be no HTTP client.
pub(super) fn layer(collector: &str) -> anyhow::Result<(Said, Exporter)> {
    let exporter = SpanExporter::builder()
        .with_http()
        .with_endpoint(format!("{}/v1/traces", collector.trim_end_matches('/')))
        .with_timeout(TIMEOUT)
        .with_http_client(client(collector)?)
        .build()
        .with_context(|| format!("spans can't be sent to {collector}"))?;
    let resource = Resource::builder().with_service_name("minivaultd").build();
    let provider = SdkTracerProvider::builder().with_resource(resource).with_batch_exporter(exporter).build();
    let own = Targets::new().with_target("minivault_daemon", LevelFilter::INFO);
    let layer = tracing_opentelemetry::layer().with_tracer(provider.tracer("minivaultd")).with_location(false).with_threads(false);
    Ok((Box::new(layer.with_filter(own)), Exporter(provider)))
}

/// A client that needs no certificates where none are spoken of.
fn client(collector: &str) -> anyhow::Result<reqwest::blocking::Client> {
    // Whoever installed a provider first is as good.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let client = reqwest::blocking::Client::builder().timeout(TIMEOUT).no_proxy();
    let client = if collector.starts_with("https:") { client } else { client.tls_certs_only([]) };
    // It starts a runtime, which can't be done inside of another one.
    std::thread::scope(|scope| scope.spawn(|| client.build()).join())
        .map_err(|_| anyhow::anyhow!("the HTTP client panicked"))?
        .map_err(Into::into)
}
