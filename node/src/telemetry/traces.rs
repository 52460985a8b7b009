//! Traces: spans of requests and of what they cause, sent to a collector by OTLP (HTTP, protobuf). Off unless `--otlp-endpoint`
//! names one.
//!
//! A request that comes with a `traceparent` is traced if its caller traces it; of the others a part is, `--otlp-ratio`. A forwarded
//! command carries its trace to the leader.
//!
//! Invariant: nothing waits for the collector. Spans queue for a thread of their own, [`QUEUE_SPANS`] at most; what is beyond is dropped.

use async_trait::async_trait;
use bytes::Bytes;
use opentelemetry::propagation::{Extractor, Injector, TextMapPropagator};
use opentelemetry::trace::{TraceContextExt, TracerProvider};
use opentelemetry_http::{HttpClient, HttpError, Request, Response};
use opentelemetry_otlp::{SpanExporter, WithExportConfig, WithHttpConfig};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::propagation::TraceContextPropagator;
use opentelemetry_sdk::trace::{BatchConfigBuilder, BatchSpanProcessor, Sampler, SdkTracerProvider};
use std::time::Duration;
use tokio::runtime::Handle;
use tracing::Span;
use tracing_opentelemetry::OpenTelemetrySpanExt;
use tracing_subscriber::filter::filter_fn;
use tracing_subscriber::{Layer, registry::LookupSpan};

/// Spans that wait for the collector. Some seconds of a sampled load, and a few MiB.
const QUEUE_SPANS: usize = 8_192;
/// Spans of one request to the collector.
const BATCH_SPANS: usize = 512;
/// Spans wait this long for company.
const DELAY: Duration = Duration::from_secs(1);
/// How long the collector may take for a batch.
const EXPORT_TIMEOUT: Duration = Duration::from_secs(5);
/// How long the end of the process waits for the last spans.
const END_TIMEOUT: Duration = Duration::from_secs(1);

/// Where the spans of this module's kind are made.
const TARGET: &str = "schedia_node::request";

/// Where traces go.
#[derive(Clone, Debug, PartialEq)]
pub struct Collector {
    /// The URL that takes traces.
    pub url: String,
    /// The part of requests that is traced, of those whose caller has not decided: 0 to 1.
    pub ratio: f64,
}

/// Traces under way. Dropped, the last of them are sent, for at most [`END_TIMEOUT`].
pub struct Exporting(SdkTracerProvider);

impl Drop for Exporting {
    fn drop(&mut self) {
        if let Err(error) = self.0.shutdown_with_timeout(END_TIMEOUT) {
            tracing::warn!(%error, "the last spans were not sent");
        }
    }
}

/// Begins to send the spans of requests; the layer is what takes them.
pub(super) fn start<S>(
    to: &Collector,
    node: &str,
    runtime: &Handle,
) -> (Exporting, impl Layer<S> + Send + Sync + use<S>)
where
    S: tracing::Subscriber + Send + Sync + for<'span> LookupSpan<'span>,
{
    let client = reqwest::Client::builder().timeout(EXPORT_TIMEOUT).build();
    let client =
        Client { client: client.expect("a client without TLS needs nothing"), runtime: runtime.clone() };
    let exporter = SpanExporter::builder()
        .with_http()
        .with_http_client(client)
        .with_endpoint(&to.url)
        .with_timeout(EXPORT_TIMEOUT)
        .build()
        .expect("the endpoint was checked with the settings");
    let batches = BatchConfigBuilder::default()
        .with_max_queue_size(QUEUE_SPANS)
        .with_max_export_batch_size(BATCH_SPANS)
        .with_scheduled_delay(DELAY)
        .build();
    let provider = SdkTracerProvider::builder()
        .with_span_processor(BatchSpanProcessor::builder(exporter).with_batch_config(batches).build())
        .with_sampler(Sampler::ParentBased(Box::new(Sampler::TraceIdRatioBased(to.ratio))))
        .with_resource(
            Resource::builder()
                .with_service_name("schedia")
                .with_attribute(opentelemetry::KeyValue::new("service.instance.id", node.to_owned()))
                .build(),
        )
        .build();
    let layer = tracing_opentelemetry::layer()
        .with_tracer(provider.tracer("schedia"))
        .with_location(false)
        .with_threads(false)
        .with_filter(filter_fn(|metadata| metadata.is_span() && metadata.target() == TARGET));
    (Exporting(provider), layer)
}

/// The spans' thread has no runtime: what it sends, it sends on the process's.
#[derive(Debug)]
struct Client {
    client: reqwest::Client,
    runtime: Handle,
}

#[async_trait]
impl HttpClient for Client {
    async fn send_bytes(&self, request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
        let client = self.client.clone();
        let sending = self.runtime.spawn(async move {
            let answer = client.execute(request.try_into()?).await?;
            let mut response = Response::new(Bytes::new());
            *response.status_mut() = answer.status();
            *response.headers_mut() = answer.headers().clone();
            // What the collector says beyond its status is not looked at.
            Ok(response)
        });
        sending.await?
    }
}

/// One header, both ways.
struct Parent(Option<String>);

/// The header's name, as W3C's Trace Context has it.
pub(crate) const TRACEPARENT: &str = "traceparent";

impl Extractor for Parent {
    fn get(&self, key: &str) -> Option<&str> {
        self.0.as_deref().filter(|_| key == TRACEPARENT)
    }

    fn keys(&self) -> Vec<&str> {
        vec![TRACEPARENT]
    }
}

impl Injector for Parent {
    fn set(&mut self, key: &str, value: String) {
        if key == TRACEPARENT {
            self.0 = Some(value);
        }
    }
}

/// Makes a span, not entered yet, part of a trace that another process began. Nothing if that is not one, or nobody traces.
pub(crate) fn continue_trace(span: &Span, traceparent: &str) {
    if span.is_disabled() {
        return;
    }
    let context = TraceContextPropagator::new().extract(&Parent(Some(traceparent.to_owned())));
    // Without a collector there is no layer that could take it.
    let _ = span.set_parent(context);
}

/// The trace of a span, as another process continues it.
pub(crate) fn traceparent(span: &Span) -> Option<String> {
    let context = span.context();
    if !context.span().span_context().is_valid() {
        return None;
    }
    let mut parent = Parent(None);
    TraceContextPropagator::new().inject_context(&context, &mut parent);
    parent.0
}
