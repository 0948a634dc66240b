//! What a shim says of itself: warnings and errors, on stderr.

use std::sync::OnceLock;

use tracing::{Event, Level, Metadata, Subscriber, dispatcher, level_filters::LevelFilter, span};

type Lines = tracing_subscriber::FmtSubscriber<
    tracing_subscriber::fmt::format::DefaultFields,
    tracing_subscriber::fmt::format::Format,
    LevelFilter,
    fn() -> std::io::Stderr,
>;

/// Begins to report.
pub(crate) fn init() {
    // Refused only where somebody has done it before.
    let _ = dispatcher::set_global_default(dispatcher::Dispatch::new(WhenNeeded::default()));
}

/// Most shims never have to say a word, and the registry behind the lines keeps 32 kB for spans that we do not use: it is
/// made for the first one.
#[derive(Default)]
struct WhenNeeded(OnceLock<Lines>);

impl WhenNeeded {
    fn lines(&self) -> &Lines {
        self.0.get_or_init(|| {
            tracing_subscriber::fmt()
                .with_writer(std::io::stderr as fn() -> std::io::Stderr)
                .with_ansi(false)
                .with_max_level(LevelFilter::WARN)
                .finish()
        })
    }
}

impl Subscriber for WhenNeeded {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.is_event() && *metadata.level() <= Level::WARN
    }

    fn max_level_hint(&self) -> Option<LevelFilter> {
        Some(LevelFilter::WARN)
    }

    fn event(&self, event: &Event<'_>) {
        self.lines().event(event);
    }

    // Spans are not enabled, so none is ever made.
    fn new_span(&self, _: &span::Attributes<'_>) -> span::Id {
        span::Id::from_u64(1)
    }
    fn record(&self, _: &span::Id, _: &span::Record<'_>) {}
    fn record_follows_from(&self, _: &span::Id, _: &span::Id) {}
    fn enter(&self, _: &span::Id) {}
    fn exit(&self, _: &span::Id) {}
}
