//! A *bundle*: a policy folder as one file that people sign and a gateway takes. Beside `FILE` stand the signatures, in
//! `FILE.sigs`, each as `ssh-keygen -Y sign -n consentry-policy-bundle` makes it over the whole of `FILE`.
//!
//! ```text
//! manifest.toml   format, version, expires, author, set, replaces, governed, SHA-256 of each file
//! 00-floor.cedar … consentry.cedarschema … catalogue.cedarentities.json … tests/… invariants/…
//! ```
//!
//! INVARIANT: a [`Bundle`] is whole: every file is in the manifest with its hash, every hash has its file, and the archive is
//! in its one form. Who signed it, and whether that is enough, is judged in [`quorum`]; that the policies are good, by loading
//! them.

mod archive;
mod quorum;
mod signers;
mod sshsig;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::Path;

use aws_lc_rs::digest::{SHA256, digest};
use jiff::Timestamp;

use super::cases;
use super::{Policies, source};
use crate::model::{Finding, Findings};
use archive::Files;

pub use quorum::{Approvals, Ignored, Missing, Need};
pub use signers::{Signer, Signers};
#[cfg(test)]
pub(crate) use sshsig::tests::Signer as Pen;
pub use sshsig::{Key, Signature, SignatureFault};

/// What signatures are made for: none of another use counts here.
pub const NAMESPACE: &str = "consentry-policy-bundle";
const MANIFEST: &str = "manifest.toml";
const FORMAT: u32 = 1;
/// Folders below the policy folder.
const DEPTH_MAX: usize = 3;

/// Why a file is not a bundle.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BundleError {
    #[error("the bundle ends too early; fetch it again")]
    Cut,
    #[error("the bundle is larger than 8 MiB or has over 4096 files")]
    TooLarge,
    #[error("`{0}` is not a name for a file of a bundle; use letters, digits, `-`, `_` and `.` in at most three folders")]
    Name(String),
    #[error("`{0}` is a link, a folder or a device; only files can be bundled")]
    NoFile(String),
    #[error("`{0}` stands in the bundle twice")]
    Twice(String),
    #[error("the bundle was not written by `consentry policy bundle`, or was changed since")]
    OtherForm,
    #[error("the bundle has no `manifest.toml`")]
    NoManifest,
    #[error("`manifest.toml` cannot be used: {0}")]
    Manifest(String),
    #[error("`{0}` is not what the manifest says; it was changed after bundling")]
    Changed(String),
    #[error("`{0}` stands in the bundle and not in its manifest")]
    Unlisted(String),
    #[error("`{0}` stands in the manifest and not in the bundle")]
    Lacking(String),
    #[error("the policies of the bundle have the id {found}, its manifest says {said}")]
    OtherSet { found: String, said: String },
    #[error("the bundle's policies have mistakes:\n\n{0}")]
    Policies(Findings),
    #[error("{failed} of {all} cases of the bundle fail, the first is \"{first}\"")]
    Cases { failed: usize, all: usize, first: String },
    #[error("the bundle has no case at all; a set without tests has proved nothing")]
    NoCases,
    #[error("the signatures cannot be read: {0}")]
    Signatures(#[from] SignatureFault),
    #[error("cannot read or write: {0}")]
    Io(String),
}

impl From<io::Error> for BundleError {
    fn from(error: io::Error) -> Self {
        Self::Io(error.to_string())
    }
}

/// What a bundle says of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Manifest {
    /// Counts up; never the same twice.
    pub version: u64,
    /// From then on nothing is decided by it.
    pub expires: Timestamp,
    /// `name@department`; signs, and never counts as approver.
    pub author: String,
    /// The id of the policy set ([`Policies::id`]).
    pub set: String,
    /// The id of the set whose place it takes; none for the first.
    pub replaces: Option<String>,
    /// The hash of the configuration's governed part (APIs, shapes, id spaces) that belongs to it.
    pub governed: String,
    /// SHA-256 in hex.
    files: BTreeMap<String, String>,
}

#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct Wire {
    format: u32,
    version: u64,
    expires: String,
    author: String,
    set: String,
    replaces: Option<String>,
    governed: String,
    files: BTreeMap<String, String>,
}

impl Manifest {
    fn parse(bytes: &[u8]) -> Result<Self, BundleError> {
        let wrong = |what: &str| BundleError::Manifest(what.to_owned());
        let text = std::str::from_utf8(bytes).map_err(|_not_text| wrong("it is not UTF-8"))?;
        let Wire { format, version, expires, author, set, replaces, governed, files } =
            toml::from_str(text).map_err(|error| BundleError::Manifest(error.message().to_owned()))?;
        if format != FORMAT {
            return Err(BundleError::Manifest(format!("format {format} is not known here; update consentry")));
        }
        let expires = expires.parse().map_err(|_no_time| wrong("`expires` is not a time"))?;
        let found = Self { version, expires, author, set, replaces, governed, files };
        // One form only, so that what people read is what is parsed.
        if found.text().as_bytes() == bytes { Ok(found) } else { Err(BundleError::OtherForm) }
    }

    fn text(&self) -> String {
        let mut lines = vec![
            format!("format = {FORMAT}"),
            format!("version = {}", self.version),
            format!("expires = \"{}\"", self.expires),
            format!("author = \"{}\"", self.author),
            format!("set = \"{}\"", self.set),
        ];
        lines.extend(self.replaces.iter().map(|set| format!("replaces = \"{set}\"")));
        lines.extend([format!("governed = \"{}\"", self.governed), String::new(), "[files]".to_owned()]);
        lines.extend(self.files.iter().map(|(name, hash)| format!("\"{name}\" = \"{hash}\"")));
        lines.join("\n") + "\n"
    }
}

/// What whoever makes a bundle says.
#[derive(Clone, Debug)]
pub struct Wanted {
    pub version: u64,
    pub expires: Timestamp,
    pub author: String,
    pub replaces: Option<String>,
    pub governed: String,
}

/// A whole bundle. Nobody has to have signed it.
#[derive(Clone)]
pub struct Bundle {
    pub manifest: Manifest,
    files: Files,
    bytes: Vec<u8>,
}

impl std::fmt::Debug for Bundle {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Bundle").field("manifest", &self.manifest).finish_non_exhaustive()
    }
}

impl Bundle {
    /// Makes a bundle of a policy folder, which must be without a mistake.
    ///
    /// # Errors
    /// [`BundleError`]: mistakes of the folder, or what cannot be bundled.
    pub fn of_folder(dir: &Path, wanted: Wanted) -> Result<Self, BundleError> {
        let plain = |c: char| c.is_ascii_alphanumeric() || "-._".contains(c);
        let author = wanted
            .author
            .split_once('@')
            .filter(|(name, department)| [name, department].into_iter().all(|part| !part.is_empty() && part.chars().all(plain)));
        if author.is_none() {
            return Err(BundleError::Manifest(format!("`{}` is not an author; write `name@department`", wanted.author)));
        }
        let set = Policies::load(dir).map_err(BundleError::Policies)?.id().to_owned();
        let mut files = Files::new();
        collect(dir, "", 0, &mut files)?;
        let Wanted { version, expires, author, replaces, governed } = wanted;
        let hashes = files.iter().map(|(name, content)| (name.clone(), sha256(content))).collect();
        let manifest = Manifest { version, expires, author, set, replaces, governed, files: hashes };
        let bytes = archive::write(manifest.text().as_bytes(), &files)?;
        Self::open(&bytes)
    }

    /// Takes a bundle apart and compares every file with the manifest.
    ///
    /// # Errors
    /// [`BundleError`]
    pub fn open(bytes: &[u8]) -> Result<Self, BundleError> {
        let (manifest, files) = archive::read(bytes)?;
        let manifest = Manifest::parse(&manifest)?;
        for (name, content) in &files {
            match manifest.files.get(name) {
                None => return Err(BundleError::Unlisted(name.clone())),
                Some(hash) if *hash != sha256(content) => return Err(BundleError::Changed(name.clone())),
                Some(_) => {}
            }
        }
        if let Some(name) = manifest.files.keys().find(|name| !files.contains_key(*name)) {
            return Err(BundleError::Lacking(name.clone()));
        }
        Ok(Self { manifest, files, bytes: bytes.to_vec() })
    }

    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// SHA-256 in hex over the whole file.
    #[must_use]
    pub fn digest(&self) -> String {
        sha256(&self.bytes)
    }

    /// Loads the policies as any folder is loaded.
    ///
    /// # Errors
    /// Every mistake, or when they are not those of the manifest.
    pub fn policies(&self) -> Result<Policies, BundleError> {
        self.unpacked(|dir| self.load(dir))
    }

    /// The same, and runs the bundle's own cases.
    ///
    /// # Errors
    /// Also when a case fails, or there is none.
    pub fn tested(&self) -> Result<Policies, BundleError> {
        self.unpacked(|dir| {
            let policies = self.load(dir)?;
            let report = cases::run(dir).map_err(BundleError::Policies)?;
            match report.cases.iter().find(|case| case.failure.is_some()) {
                Some(case) => Err(BundleError::Cases { failed: report.failed(), all: report.cases.len(), first: case.name.clone() }),
                None if report.cases.is_empty() => Err(BundleError::NoCases),
                None => Ok(policies),
            }
        })
    }

    fn load(&self, dir: &Path) -> Result<Policies, BundleError> {
        let policies = Policies::load(dir).map_err(BundleError::Policies)?;
        // Also the guard against somebody who changes the unpacked files: the id is of the bytes that were loaded.
        if policies.id() == self.manifest.set {
            return Ok(policies);
        }
        Err(BundleError::OtherSet { found: policies.id().to_owned(), said: self.manifest.set.clone() })
    }

    /// In a folder of its own, which only this user can enter and which is gone afterwards.
    fn unpacked<T>(&self, then: impl FnOnce(&Path) -> Result<T, BundleError>) -> Result<T, BundleError> {
        let dir = tempfile::Builder::new().prefix("consentry-bundle-").tempdir()?;
        for (name, content) in &self.files {
            let path = dir.path().join(name);
            if let Some(above) = path.parent() {
                fs::create_dir_all(above)?;
            }
            fs::write(path, content)?;
        }
        then(dir.path())
    }
}

/// Every file of a folder but hidden ones.
fn collect(dir: &Path, prefix: &str, depth: usize, files: &mut Files) -> Result<(), BundleError> {
    for name in source::list(dir).map_err(|finding| BundleError::Policies(Findings(vec![finding])))? {
        if name.starts_with('.') {
            continue;
        }
        let path = dir.join(&name);
        let full = format!("{prefix}{name}");
        let kind = fs::symlink_metadata(&path)?.file_type();
        if kind.is_file() && full == MANIFEST {
            let finding = Finding::of_file(&path, "this name is the bundle's own").help("rename the file");
            return Err(BundleError::Policies(Findings(vec![finding])));
        } else if kind.is_file() {
            files.insert(full, fs::read(&path)?);
        } else if kind.is_dir() && depth < DEPTH_MAX {
            collect(&path, &format!("{full}/"), depth + 1, files)?;
        } else {
            return Err(if kind.is_dir() { BundleError::Name(full) } else { BundleError::NoFile(full) });
        }
    }
    Ok(())
}

fn sha256(bytes: &[u8]) -> String {
    digest(&SHA256, bytes).as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
}
