//! From tracing to entries: takes events with the fields of their spans, and writes each as one line.

use std::io::Write;
use std::sync::{Mutex, PoisonError};

use jiff::Timestamp;
use tracing::span::{Attributes, Id, Record};
use tracing::subscriber::Interest;
use tracing::{Event, Metadata, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::filter::LevelFilter;
use tracing_subscriber::layer::Context;
use tracing_subscriber::registry::LookupSpan;

use super::entry::{Entry, Fields};
use super::format::Writer;
use super::subsystem::{is_ours, subsystem};
use crate::config::global::Level;

/// Writes entries of a level and above.
#[derive(Debug)]
pub(super) struct Lines<W> {
    lowest: LevelFilter,
    writer: Writer,
    out: Mutex<W>,
}

impl<W: Write> Lines<W> {
    pub(super) fn new(lowest: Level, writer: Writer, out: W) -> Self {
        Self {
            lowest: match lowest {
                Level::Debug => LevelFilter::DEBUG,
                Level::Info => LevelFilter::INFO,
                Level::Warn => LevelFilter::WARN,
                Level::Error => LevelFilter::ERROR,
            },
            writer,
            out: Mutex::new(out),
        }
    }

    fn takes(&self, metadata: &Metadata<'_>) -> bool {
        let level = *metadata.level();
        let is_wanted = is_ours(metadata.target()) || level <= tracing::Level::WARN;
        is_wanted && self.lowest >= level
    }
}

impl<W, S> Layer<S> for Lines<W>
where
    W: Write + Send + 'static,
    S: Subscriber + for<'a> LookupSpan<'a>,
{
    fn register_callsite(&self, metadata: &'static Metadata<'static>) -> Interest {
        if self.takes(metadata) {
            Interest::always()
        } else {
            Interest::never()
        }
    }

    fn enabled(&self, metadata: &Metadata<'_>, _: Context<'_, S>) -> bool {
        self.takes(metadata)
    }

    fn max_level_hint(&self) -> Option<LevelFilter> {
        Some(self.lowest)
    }

    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, context: Context<'_, S>) {
        if let Some(span) = context.span(id) {
            let mut fields = Fields::default();
            attributes.record(&mut fields);
            span.extensions_mut().insert(fields);
        }
    }

    fn on_record(&self, id: &Id, record: &Record<'_>, context: Context<'_, S>) {
        if let Some(span) = context.span(id)
            && let Some(fields) = span.extensions_mut().get_mut::<Fields>()
        {
            record.record(fields);
        }
    }

    fn on_event(&self, event: &Event<'_>, context: Context<'_, S>) {
        let metadata = event.metadata();
        let mut fields = Fields::default();
        event.record(&mut fields);
        for span in context.event_scope(event).into_iter().flatten() {
            if let Some(outer) = span.extensions().get::<Fields>() {
                for (name, value) in &outer.fields {
                    fields.add(name, value.clone());
                }
            }
        }
        if let Some(subsystem) = subsystem(metadata.target()) {
            fields.add("subsystem", super::entry::Value::Text(subsystem.to_owned()));
        }
        let prefix = ["job", "subsystem"]
            .into_iter()
            .filter_map(|name| Some((name, fields.take(name)?)))
            .collect();
        let line = self.writer.line(&Entry {
            time: Timestamp::now(),
            level: level(*metadata.level()),
            message: fields.message,
            prefix,
            fields: fields.fields,
        });
        let mut out = self.out.lock().unwrap_or_else(PoisonError::into_inner);
        // There is nowhere to tell that nobody reads the log.
        out.write_all(line.as_bytes())
            .and_then(|()| out.flush())
            .ok();
    }
}

fn level(level: tracing::Level) -> Level {
    match level {
        tracing::Level::ERROR => Level::Error,
        tracing::Level::WARN => Level::Warn,
        tracing::Level::INFO => Level::Info,
        _ => Level::Debug,
    }
}
