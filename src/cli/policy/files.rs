//! Bundles, their signatures and policy sets as files of the command line.

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::{Exit, Failure};
use crate::policy::Policies;
use crate::policy::bundle::{Bundle, BundleError, NAMESPACE, Signature};

/// A bundle on disk with its signatures.
pub(super) struct Signed {
    pub(super) bundle: Bundle,
    pub(super) signatures: String,
    beside: PathBuf,
}

impl Signed {
    pub(super) fn read(file: &Path) -> Result<Self, Failure> {
        let bytes = fs::read(file).map_err(|error| unreadable(file, &error))?;
        let bundle = Bundle::open(&bytes).map_err(|error| broken(file, &error))?;
        let mut beside = file.as_os_str().to_owned();
        beside.push(".sigs");
        let beside = PathBuf::from(beside);
        let signatures = match fs::read_to_string(&beside) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => String::new(),
            Err(error) => return Err(unreadable(&beside, &error)),
        };
        Signature::read_all(&signatures).map_err(|fault| broken(&beside, &fault.into()))?;
        Ok(Self { bundle, signatures, beside })
    }

    /// Has `ssh-keygen` sign the bundle and adds the signature; a second one of the same key takes the first one's place.
    pub(super) fn sign(&mut self, key: &Path) -> Result<Signature, Failure> {
        let made = ssh_keygen(key, self.bundle.bytes())?;
        let unusable = |why: &str| Failure::new(Exit::Internal, format!("`ssh-keygen` made a signature that cannot be used: {why}"));
        let signature = Signature::read_all(&made).map_err(|fault| unusable(&fault.to_string()))?.pop().ok_or_else(|| unusable("there is none"))?;
        if !signature.verifies(self.bundle.bytes(), NAMESPACE) {
            return Err(unusable("it does not hold for the bundle"));
        }
        let others = Signature::read_all(&self.signatures).map_err(|fault| broken(&self.beside, &fault.into()))?;
        let others = others.into_iter().filter(|other| other.key != signature.key).map(|other| other.armor);
        self.signatures = others.chain([signature.armor.clone()]).collect();
        fs::write(&self.beside, &self.signatures)
            .map_err(|error| Failure::new(Exit::Internal, format!("cannot write `{}`: {error}", self.beside.display())))?;
        Ok(signature)
    }
}

/// The set in a folder or in a bundle.
pub(super) fn policies(path: &Path) -> Result<Policies, Failure> {
    if path.is_dir() {
        return Policies::load(path).map_err(|findings| Failure::new(Exit::Invalid, format!("`{}` has mistakes:\n\n{findings}", path.display())));
    }
    Signed::read(path)?.bundle.policies().map_err(|error| broken(path, &error))
}

pub(super) fn broken(file: &Path, error: &BundleError) -> Failure {
    Failure::new(Exit::Invalid, format!("`{}`: {error}", file.display()))
}

fn unreadable(file: &Path, error: &std::io::Error) -> Failure {
    let exit = if error.kind() == std::io::ErrorKind::NotFound { Exit::NotFound } else { Exit::Usage };
    Failure::new(exit, format!("cannot read `{}`: {error}", file.display()))
}

/// The people's own tool has their keys, with passphrase, agent or hardware.
fn ssh_keygen(key: &Path, message: &[u8]) -> Result<String, Failure> {
    let mut command = Command::new("ssh-keygen");
    command.args(["-q", "-Y", "sign", "-n", NAMESPACE, "-f"]).arg(key).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut child = command.spawn().map_err(|error| {
        Failure::usage(format!(
            "cannot run `ssh-keygen`: {error}; install OpenSSH's client, or sign with `ssh-keygen -Y sign -n {NAMESPACE}` elsewhere"
        ))
    })?;
    let failed = || Failure::usage(format!("`ssh-keygen` did not sign with `{}`", key.display()));
    let written = child.stdin.take().map(|mut stdin| stdin.write_all(message));
    let output = child.wait_with_output().map_err(|error| Failure::new(Exit::Internal, format!("`ssh-keygen`: {error}")))?;
    if !output.status.success() || !matches!(written, Some(Ok(()))) {
        return Err(failed());
    }
    String::from_utf8(output.stdout).map_err(|_not_text| failed())
}
