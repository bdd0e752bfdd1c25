//! A progress bar on standard error, if that is a terminal.

use std::sync::Arc;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use ipfs_accelerate::AddProgress;

use super::text;

/// Shorter work shows no bar.
const FIRST_DRAW: Duration = Duration::from_millis(200);

const KNOWN: &str = "{msg} [{bar:30}] {prefix}{binary_bytes} of {binary_total_bytes}, {binary_bytes_per_sec}, {eta} left";
const UNKNOWN: &str = "{msg} {spinner} {prefix}{binary_bytes}, {binary_bytes_per_sec}";

/// One bar; removed from the screen when dropped.
pub(crate) struct Progress {
    bar: ProgressBar,
}

impl Progress {
    /// A bar for some bytes, their number perhaps not known. Hidden where nobody can see it.
    pub(crate) fn new(shown: bool, message: impl Into<String>, total_bytes: Option<u64>) -> Self {
        // This target hides itself where standard error is no terminal.
        let target = match shown {
            true => ProgressDrawTarget::stderr(),
            false => ProgressDrawTarget::hidden(),
        };
        let bar = ProgressBar::with_draw_target(total_bytes, target);
        // A bar of nothing would be full.
        bar.set_style(style(total_bytes.is_some_and(|total| total > 0)));
        bar.set_message(message.into());
        if !bar.is_hidden() {
            bar.enable_steady_tick(FIRST_DRAW);
        }
        Self { bar }
    }

    /// The handle that callbacks move.
    pub(crate) fn bar(&self) -> ProgressBar {
        self.bar.clone()
    }

    /// A callback that follows what is read. Of a folder the size is known once it was walked, which the
    /// first call tells.
    pub(crate) fn follow(&self) -> Arc<dyn Fn(AddProgress) + Send + Sync> {
        let bar = self.bar();
        Arc::new(move |at: AddProgress| {
            if let Some(total) = at.total_bytes {
                set_total(&bar, total);
            }
            bar.set_position(at.done_bytes);
            if at.shared_bytes > 0 {
                let (shared, new) = (text::size(at.shared_bytes), text::size(at.new_bytes));
                bar.set_prefix(format!("{shared} shared, {new} new "));
            }
        })
    }
}

/// How many bytes there are, once that is known.
pub(crate) fn set_total(bar: &ProgressBar, total_bytes: u64) {
    if bar.length() != Some(total_bytes) {
        bar.set_length(total_bytes);
        bar.set_style(style(total_bytes > 0));
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}

fn style(known: bool) -> ProgressStyle {
    let template = if known { KNOWN } else { UNKNOWN };
    let style = ProgressStyle::with_template(template);
    style
        .unwrap_or_else(|_| ProgressStyle::default_bar())
        .progress_chars("=> ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_templates_are_sound() {
        for template in [KNOWN, UNKNOWN] {
            ProgressStyle::with_template(template).unwrap();
        }
    }
}
