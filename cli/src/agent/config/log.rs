//! `log_format`, `log_level`, `log_file` and `log_rotate_…`, in Vault Agent's words.

use std::path::PathBuf;

use crate::{
    agent::log::{Format, Level, LogPlan, Rotation},
    hcl::value::Stanza,
};

/// Reads what one file says of the log.
pub(super) fn read(all: &mut Stanza) -> Result<LogPlan, String> {
    let place = all.place.clone();
    let wrong = |why: String| format!("{place}: {why}");
    let said = |text: Option<String>| text.filter(|text| !text.is_empty());
    let format = said(all.text("log_format")?).map(|text| Format::parse(&text));
    let level = said(all.text("log_level")?).map(|text| Level::parse(&text));
    let file = said(all.text("log_file")?).map(PathBuf::from);
    let whole = |key: &str, text: Option<String>| {
        let number = text.map(|text| {
            text.parse::<i64>().map_err(|_| wrong(format!("{key} must be a whole number, not {text:?}")))
        });
        number.transpose()
    };
    let bytes = whole("log_rotate_bytes", said(all.text("log_rotate_bytes")?))?;
    let kept = whole("log_rotate_max_files", said(all.text("log_rotate_max_files")?))?;
    let after = all.span_if_any("log_rotate_duration")?;
    Ok(LogPlan {
        format: format.transpose().map_err(wrong)?,
        level: level.transpose().map_err(wrong)?,
        file,
        rotation: Rotation { bytes: bytes.map(|bytes| u64::try_from(bytes).unwrap_or(0)), after, kept },
    })
}
