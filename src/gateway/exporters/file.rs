//! A file that grows: acknowledged is what the disk has confirmed. It may be moved away; the next batch makes a new one.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use bytes::Bytes;

use super::{Unsent, trouble};
use crate::model::EventFormat;

/// A line that was cut by a kill or a full disk is looked for in the last bytes: a batch, and one event.
const TORN_BYTES_MAX: u64 = 4 << 20;

#[derive(Debug)]
pub(super) struct FileEnd {
    pub(super) path: PathBuf,
    pub(super) format: EventFormat,
}

impl FileEnd {
    pub(super) async fn append(&self, payload: Bytes) -> Result<(), Unsent> {
        let (path, beginning) = (self.path.clone(), beginning(self.format));
        let appended = tokio::task::spawn_blocking(move || append(&path, &payload, beginning)).await.map_err(|error| trouble(&error))?;
        appended.map_err(|error| Unsent::Trouble(format!("`{}`: {error}", self.path.display())))
    }
}

/// What every line begins with.
const fn beginning(format: EventFormat) -> &'static [u8] {
    match format {
        EventFormat::Ocsf | EventFormat::Otlp | EventFormat::Ndjson => b"{\"",
        EventFormat::Cef => b"CEF:0|consentry|",
        EventFormat::Leef => b"LEEF:2.0|consentry|",
    }
}

fn append(path: &Path, payload: &[u8], beginning: &[u8]) -> io::Result<()> {
    let file = OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(path)?;
    if !file.metadata()?.is_file() {
        return Err(io::Error::other("this is no file"));
    }
    let end = whole_end(&file, beginning)?;
    file.set_len(end)?;
    file.write_all_at(payload, end)?;
    file.sync_data()?;
    if end == 0 {
        path.parent().map_or(Ok(()), |dir| File::open(dir)?.sync_all())?;
    }
    Ok(())
}

/// Where the last whole line ends. A cut line of ours was never acknowledged and comes again; anybody else's is left alone.
fn whole_end(file: &File, beginning: &[u8]) -> io::Result<u64> {
    let length = file.metadata()?.len();
    let Some(at) = length.checked_sub(1) else { return Ok(0) };
    let mut byte = [0];
    file.read_exact_at(&mut byte, at)?;
    if byte == *b"\n" {
        return Ok(length);
    }
    let start = length.saturating_sub(TORN_BYTES_MAX);
    let mut last = vec![0; usize::try_from(length - start).unwrap_or_default()];
    file.read_exact_at(&mut last, start)?;
    let line = last.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
    let torn = last.get(line..).unwrap_or_default();
    let is_ours = torn.starts_with(beginning) || beginning.starts_with(torn);
    if !is_ours || (line == 0 && start > 0) {
        return Err(io::Error::other("its last line is not whole and not of this export; move the file away"));
    }
    Ok(start + u64::try_from(line).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cut_line_of_ours_is_written_anew_and_anybody_elses_is_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("events");
        let beginning = beginning(EventFormat::Ndjson);
        for (before, after) in [
            ("", Some("{\"b\":2}\n")),
            ("{\"a\":1}\n", Some("{\"a\":1}\n{\"b\":2}\n")),
            ("{\"a\":1}\n{\"b", Some("{\"a\":1}\n{\"b\":2}\n")),
            ("{\"a\":1}\n{", Some("{\"a\":1}\n{\"b\":2}\n")),
            ("{\"a", Some("{\"b\":2}\n")),
            ("a host", None),
            ("{\"a\":1}\nnot ours", None),
        ] {
            std::fs::write(&path, before).unwrap();
            let done = append(&path, b"{\"b\":2}\n", beginning);
            assert_eq!((done.is_ok(), std::fs::read_to_string(&path).unwrap().as_str()), (after.is_some(), after.unwrap_or(before)), "{before:?}");
        }
        std::fs::write(&path, [b"\n".as_slice(), &vec![b'{'; 5 << 20]].concat()).unwrap();
        assert!(append(&path, b"{}\n", beginning).is_err(), "too long to be one of ours");
        std::fs::remove_file(&path).unwrap();
        append(&path, b"{}\n", beginning).unwrap();
        assert!(append(dir.path(), b"{}\n", beginning).is_err(), "a folder");
    }
}
