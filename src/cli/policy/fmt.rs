//! `consentry policy fmt`: the one way in which policies are laid out, so that a review sees what changed and nothing else.

use std::fs;
use std::io::{self, Write as _};
use std::path::Path;

use serde_json::json;

use super::super::check::{count, report_findings};
use super::{Exit, Failure, FolderArg, Output};
use crate::policy::{self, Formatted};

/// Lays out the folder's `*.cedar` files as Cedar's own formatter does.
///
/// Meaning and comments stay; a file where they would not is left as it is and reported.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example: consentry policy fmt --dir policies
         consentry policy fmt --check        # for CI: writes nothing, exit 1 when a file would change")]
pub(in crate::cli) struct FmtArgs {
    #[command(flatten)]
    folder: FolderArg,
    /// Write nothing; name the files that would change and exit with 1.
    #[arg(long)]
    check: bool,
}

impl FmtArgs {
    pub(super) fn execute(&self, output: &Output) -> Result<Exit, Failure> {
        let all = match policy::format(&self.folder.dir) {
            Ok(all) => all,
            Err(findings) => return report_findings(output, &findings, &[], "no file was changed"),
        };
        let changed: Vec<(&Formatted, &String)> = all.iter().filter_map(|file| Some((file, file.changed.as_ref()?))).collect();
        if !self.check {
            for (file, text) in &changed {
                replace(&file.file, text).map_err(|e| Failure::new(Exit::Internal, format!("cannot write {}: {e}", file.file.display())))?;
            }
        }
        let names: Vec<String> = changed.iter().map(|(file, _)| file.file.display().to_string()).collect();
        if output.is_json() {
            output.json(&json!({ "files": all.len(), "changed": names, "written": !self.check }))?;
        } else {
            for name in &names {
                output.line(format!("{}  {name}", if self.check { "would change" } else { "formatted" }))?;
            }
            output.line(summary(all.len(), names.len(), self.check))?;
        }
        Ok(if self.check && !names.is_empty() { Exit::CheckFailed } else { Exit::Done })
    }
}

fn summary(all: usize, changed: usize, is_check: bool) -> String {
    let files = count(all, "file");
    match (changed, is_check) {
        (0, _) => format!("{files} · all laid out"),
        (changed, true) => format!("{files} · {changed} not laid out · nothing was written; run `consentry policy fmt`"),
        (changed, false) => format!("{files} · {changed} written"),
    }
}

/// A gateway that looks at the folder sees the old file or the new one, never a half.
fn replace(path: &Path, text: &str) -> io::Result<()> {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    // Nothing reads a name with a dot.
    let beside = path.with_file_name(format!(".{name}.fmt"));
    let mut file = fs::File::create(&beside)?;
    let written = fs::metadata(path)
        .and_then(|old| file.set_permissions(old.permissions()))
        .and_then(|()| file.write_all(text.as_bytes()))
        .and_then(|()| file.sync_all())
        .and_then(|()| fs::rename(&beside, path));
    if written.is_err() {
        // What it says is the first error; a rest that stays behind is read by nobody.
        drop(fs::remove_file(&beside));
    }
    written
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_line_says_what_happened() {
        assert_eq!(summary(9, 0, true), "9 files · all laid out");
        assert_eq!(summary(9, 2, true), "9 files · 2 not laid out · nothing was written; run `consentry policy fmt`");
        assert_eq!(summary(1, 1, false), "1 file · 1 written");
    }

    #[test]
    fn a_file_is_replaced_whole_and_keeps_its_permissions() {
        use std::os::unix::fs::PermissionsExt as _;
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.cedar");
        fs::write(&path, "old").unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
        replace(&path, "new").unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "new");
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o640);
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
        assert!(replace(&dir.path().join("none.cedar"), "new").is_err());
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1, "nothing stays behind");
    }
}
