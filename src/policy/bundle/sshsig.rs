//! Signatures as `ssh-keygen -Y sign` makes them, verified here: keys are kept and used by the people's own SSH tools
//! (passphrase, agent, hardware), and the gateway needs no program for it. Read by hand over the one crypto provider: the
//! format is a dozen fields, and the crates for it bring another provider along.
//!
//! Format: <https://github.com/openssh/openssh-portable/blob/master/PROTOCOL.sshsig>; ed25519 and ECDSA over P-256.
//!
//! ```text
//! "SSHSIG" | u32 version 1 | string key | string namespace | string reserved | string hash | string signature
//! signed:  "SSHSIG" | string namespace | string reserved | string hash | string H(message)
//! ```

use std::fmt;

use aws_lc_rs::digest::{SHA256, SHA512, digest};
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED, ED25519, UnparsedPublicKey};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD};

const MAGIC: &[u8] = b"SSHSIG";
const BEGIN: &str = "-----BEGIN SSH SIGNATURE-----";
const END: &str = "-----END SSH SIGNATURE-----";
/// A signature with its key is some 200 bytes.
const ARMOR_BYTES_MAX: usize = 4_096;
/// Signatures in one file.
const SIGNATURES_MAX: usize = 64;

/// Why a text is not a list of signatures.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SignatureFault {
    #[error("a signature is not as `ssh-keygen -Y sign` writes it")]
    Unreadable,
    #[error("a signature has an algorithm that is not taken; use an ed25519 or ECDSA P-256 key")]
    Algorithm,
    #[error("there are more than {SIGNATURES_MAX} signatures; remove those that are not needed")]
    TooMany,
}

/// A public key as SSH writes it.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Key(Vec<u8>);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Ed25519,
    P256,
}

impl Key {
    /// From its name and base64, as in `id_ed25519.pub`. `None`: not such a key.
    pub(super) fn parse(kind: &str, text: &str) -> Option<Self> {
        let key = Self(STANDARD.decode(text).ok()?);
        let (found, _) = key.parts()?;
        (found.name() == kind).then_some(key)
    }

    /// As `ssh-keygen -l` shows it.
    #[must_use]
    pub fn fingerprint(&self) -> String {
        format!("SHA256:{}", STANDARD_NO_PAD.encode(digest(&SHA256, &self.0)))
    }

    /// Kind and point.
    fn parts(&self) -> Option<(Kind, &[u8])> {
        let mut wire = Wire(&self.0);
        let (kind, point) = match wire.string()? {
            b"ssh-ed25519" => (Kind::Ed25519, wire.string().filter(|point| point.len() == 32)?),
            b"ecdsa-sha2-nistp256" if wire.string()? == b"nistp256" => (Kind::P256, wire.string().filter(|point| point.len() == 65)?),
            _ => return None,
        };
        wire.is_empty().then_some((kind, point))
    }

    fn verify(&self, message: &[u8], kind: &[u8], signature: &[u8]) -> bool {
        let Some((own, point)) = self.parts().filter(|(own, _)| own.name().as_bytes() == kind) else { return false };
        match own {
            Kind::Ed25519 => UnparsedPublicKey::new(&ED25519, point).verify(message, signature).is_ok(),
            Kind::P256 => {
                fixed(signature).is_some_and(|fixed| UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, point).verify(message, &fixed).is_ok())
            }
        }
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.fingerprint())
    }
}

impl Kind {
    const fn name(self) -> &'static str {
        match self {
            Self::Ed25519 => "ssh-ed25519",
            Self::P256 => "ecdsa-sha2-nistp256",
        }
    }
}

/// One signature, not verified yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Signature {
    pub key: Key,
    namespace: Vec<u8>,
    reserved: Vec<u8>,
    hash: Vec<u8>,
    kind: Vec<u8>,
    bytes: Vec<u8>,
    /// As it stood in the file.
    pub armor: String,
}

impl Signature {
    /// All signatures of a text, one after the other.
    ///
    /// # Errors
    /// [`SignatureFault`], also for anything else between them.
    pub fn read_all(text: &str) -> Result<Vec<Self>, SignatureFault> {
        let mut found = Vec::new();
        let mut rest = text.trim_start();
        while !rest.is_empty() {
            let (armor, after) = rest.split_once(END).ok_or(SignatureFault::Unreadable)?;
            let inner = armor.strip_prefix(BEGIN).filter(|inner| inner.len() <= ARMOR_BYTES_MAX).ok_or(SignatureFault::Unreadable)?;
            found.push(Self::read(inner, format!("{armor}{END}\n"))?);
            if found.len() > SIGNATURES_MAX {
                return Err(SignatureFault::TooMany);
            }
            rest = after.trim_start();
        }
        Ok(found)
    }

    fn read(inner: &str, armor: String) -> Result<Self, SignatureFault> {
        let text: String = inner.chars().filter(|c| !c.is_ascii_whitespace()).collect();
        let blob = STANDARD.decode(text).map_err(|_not_base64| SignatureFault::Unreadable)?;
        let fields = || {
            let mut wire = Wire(blob.strip_prefix(MAGIC)?);
            let version = wire.u32()?;
            let fields = [wire.string()?, wire.string()?, wire.string()?, wire.string()?, wire.string()?];
            (version == 1 && wire.is_empty()).then_some(fields)
        };
        let [key, namespace, reserved, hash, signature] = fields().ok_or(SignatureFault::Unreadable)?.map(<[u8]>::to_vec);
        let key = Key(key);
        if key.parts().is_none() || (hash != b"sha512" && hash != b"sha256") {
            return Err(SignatureFault::Algorithm);
        }
        let mut wire = Wire(&signature);
        let (kind, bytes) = wire.string().zip(wire.string()).filter(|_| wire.is_empty()).ok_or(SignatureFault::Unreadable)?;
        let (kind, bytes) = (kind.to_vec(), bytes.to_vec());
        Ok(Self { key, namespace, reserved, hash, kind, bytes, armor })
    }

    /// Whether its key signed this message for this use.
    #[must_use]
    pub fn verifies(&self, message: &[u8], namespace: &str) -> bool {
        let hashed = if self.hash == b"sha512" { digest(&SHA512, message) } else { digest(&SHA256, message) };
        let mut signed = MAGIC.to_vec();
        for part in [&self.namespace, &self.reserved, &self.hash, hashed.as_ref()] {
            signed.extend(u32::try_from(part.len()).unwrap_or(u32::MAX).to_be_bytes());
            signed.extend(part);
        }
        self.namespace == namespace.as_bytes() && self.key.verify(&signed, &self.kind, &self.bytes)
    }
}

/// SSH's wire format: numbers big-endian, texts with their length before them.
struct Wire<'a>(&'a [u8]);

impl<'a> Wire<'a> {
    fn u32(&mut self) -> Option<u32> {
        let (number, rest) = self.0.split_first_chunk::<4>()?;
        self.0 = rest;
        Some(u32::from_be_bytes(*number))
    }

    fn string(&mut self) -> Option<&'a [u8]> {
        let length = usize::try_from(self.u32()?).ok()?;
        let (text, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(text)
    }

    const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// Two numbers of any length as 32 bytes each.
fn fixed(signature: &[u8]) -> Option<[u8; 64]> {
    let mut wire = Wire(signature);
    let (r, s) = (wire.string()?, wire.string()?);
    let mut out = [0; 64];
    let (first, second) = out.split_at_mut(32);
    for (to, number) in [(first, r), (second, s)] {
        let number = match number.split_first() {
            Some((0, rest)) => rest,
            Some((high, _)) if *high >= 0x80 => return None,
            Some(_) | None => number,
        };
        let start = to.len().checked_sub(number.len())?;
        to.get_mut(start..)?.copy_from_slice(number);
    }
    wire.is_empty().then_some(out)
}

#[cfg(test)]
pub(crate) mod tests {
    use std::io::Write as _;
    use std::process::{Command, Stdio};

    use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair as _};

    use super::*;

    fn string(bytes: &[u8]) -> Vec<u8> {
        [&u32::try_from(bytes.len()).unwrap().to_be_bytes(), bytes].concat()
    }

    /// A person's key: the line of its public half, and what it signs.
    pub(crate) struct Signer(Ed25519KeyPair);

    impl Signer {
        pub(crate) fn new() -> Self {
            Self(Ed25519KeyPair::generate().unwrap())
        }

        fn blob(&self) -> Vec<u8> {
            [string(b"ssh-ed25519"), string(self.0.public_key().as_ref())].concat()
        }

        pub(crate) fn line(&self) -> String {
            format!("ssh-ed25519 {}", STANDARD.encode(self.blob()))
        }

        pub(crate) fn sign(&self, message: &[u8], namespace: &str) -> String {
            let head = [string(namespace.as_bytes()), string(b""), string(b"sha512")].concat();
            let signed = [MAGIC, &head, &string(digest(&SHA512, message).as_ref())].concat();
            let signature = [string(b"ssh-ed25519"), string(self.0.sign(&signed).as_ref())].concat();
            let blob = [MAGIC, &1_u32.to_be_bytes(), &string(&self.blob()), &head, &string(&signature)].concat();
            let text = STANDARD.encode(blob);
            let lines: Vec<&str> = text.as_bytes().chunks(70).map(|line| std::str::from_utf8(line).unwrap()).collect();
            format!("{BEGIN}\n{}\n{END}\n", lines.join("\n"))
        }
    }

    #[test]
    fn a_signature_holds_for_its_message_and_use_only() {
        let armor = Signer::new().sign(b"bundle", "use");
        let all = Signature::read_all(&format!("\n{armor}\n{armor}")).unwrap();
        assert_eq!(all.len(), 2);
        assert!(all[0].verifies(b"bundle", "use"));
        assert!(!all[0].verifies(b"bundles", "use") && !all[0].verifies(b"bundle", "other"));
    }

    #[test]
    fn what_is_no_signature_is_refused() {
        let good = Signer::new().sign(b"bundle", "use");
        for text in
            ["x".to_owned(), format!("x{good}"), format!("{good}x"), good.replace(END, ""), good.replace("U1NI", "U1NJ"), format!("{BEGIN}\n{END}")]
        {
            assert_eq!(Signature::read_all(&text), Err(SignatureFault::Unreadable), "{text}");
        }
        assert_eq!(Signature::read_all(&good.repeat(SIGNATURES_MAX + 1)), Err(SignatureFault::TooMany));
        assert_eq!(Signature::read_all(" \n"), Ok(Vec::new()));
    }

    #[test]
    fn a_flipped_bit_never_verifies() {
        let armor = Signer::new().sign(b"bundle", "use");
        let inner: String = armor.lines().filter(|line| !line.starts_with('-')).collect();
        let blob = STANDARD.decode(inner).unwrap();
        for at in 0..blob.len() {
            let mut other = blob.clone();
            other[at] ^= 1;
            let text = format!("{BEGIN}\n{}\n{END}\n", STANDARD.encode(other));
            let verified = Signature::read_all(&text).is_ok_and(|all| all.iter().any(|one| one.verifies(b"bundle", "use")));
            assert!(!verified, "byte {at}");
        }
    }

    /// Both ways with OpenSSH's own tool.
    #[test]
    #[expect(clippy::print_stdout, reason = "a test that is skipped says so")]
    fn ssh_keygen_takes_ours_and_we_take_its() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        let keygen = |args: &[&str], input: &[u8]| {
            let child = Command::new("ssh-keygen")
                .args(args)
                .current_dir(dir.path())
                .stdin(Stdio::piped())
                .stdout(Stdio::piped())
                .stderr(Stdio::piped())
                .spawn();
            let mut child = child.ok()?;
            child.stdin.take().unwrap().write_all(input).unwrap();
            Some(child.wait_with_output().unwrap())
        };
        for kind in ["ed25519", "ecdsa"] {
            let Some(made) = keygen(&["-q", "-t", kind, "-N", "", "-f", kind], b"") else { return println!("skipped: ssh-keygen is not installed") };
            assert!(made.status.success(), "{made:?}");
            let signed = keygen(&["-Y", "sign", "-n", "use", "-f", kind], b"bundle").unwrap();
            let armor = String::from_utf8(signed.stdout).unwrap();
            let all = Signature::read_all(&armor).unwrap();
            assert!(all[0].verifies(b"bundle", "use") && !all[0].verifies(b"other", "use"), "{kind}");
            let public = std::fs::read_to_string(at(&format!("{kind}.pub"))).unwrap();
            let mut words = public.split_whitespace();
            assert_eq!(Key::parse(words.next().unwrap(), words.next().unwrap()).as_ref(), Some(&all[0].key));
        }
        let signer = Signer::new();
        std::fs::write(at("signers"), format!("kim@sales {}\n", signer.line())).unwrap();
        std::fs::write(at("ours.sig"), signer.sign(b"bundle", "use")).unwrap();
        let verify = ["-Y", "verify", "-f", "signers", "-I", "kim@sales", "-n", "use", "-s", "ours.sig"];
        assert!(keygen(&verify, b"bundle").unwrap().status.success());
        assert!(!keygen(&verify, b"other").unwrap().status.success());
    }
}
