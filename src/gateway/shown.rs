//! The certificate that the other end of a connection has shown, for as long as the connection lives. It was good when the
//! connection began; it is looked at again when the listener's trust was loaded anew and once a minute, so that who was revoked, or whose
//! certificate has run out, is not served on a connection that stays open.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwap;
use rustls::pki_types::{CertificateDer, UnixTime};

use super::tls::Secured;
use crate::identity::{AuthError, PeerCertificate};

/// How long a look counts.
const LOOK_EVERY: Duration = Duration::from_secs(60);

pub(super) struct Shown {
    leaf: Arc<PeerCertificate>,
    /// End entity first.
    chain: Vec<CertificateDer<'static>>,
    trust: Arc<ArcSwap<Secured>>,
    /// By which trust, and when, it was found good.
    found_good: Mutex<(Arc<Secured>, UnixTime)>,
}

/// The certificate of a connection counts no longer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Distrusted;

impl Shown {
    /// A chain that the handshake under this trust, one of `trust`, has found good just now.
    ///
    /// # Errors
    /// When the certificate cannot be read.
    pub(super) fn new(chain: Vec<CertificateDer<'static>>, by: Arc<Secured>, trust: Arc<ArcSwap<Secured>>) -> Result<Self, AuthError> {
        let leaf = Arc::new(PeerCertificate::from_der(chain.first().ok_or(AuthError::Unauthenticated)?)?);
        let now = by.now().ok_or(AuthError::Unauthenticated)?;
        Ok(Self { leaf, chain, trust, found_good: Mutex::new((by, now)) })
    }

    /// Whose it is, if it still counts.
    ///
    /// # Errors
    /// [`Distrusted`]: revoked, run out, or no longer issued by anybody who is trusted.
    pub(super) fn certificate(&self) -> Result<Arc<PeerCertificate>, Distrusted> {
        let trust = self.trust.load_full();
        let now = trust.now().ok_or(Distrusted)?;
        let is_fresh = {
            let (by, at) = &*self.found_good.lock().unwrap_or_else(PoisonError::into_inner);
            // A clock that was set back makes no look count longer.
            Arc::ptr_eq(by, &trust) && now.as_secs().abs_diff(at.as_secs()) < LOOK_EVERY.as_secs()
        };
        if !is_fresh {
            if !trust.lets_in(&self.chain, now) {
                return Err(Distrusted);
            }
            *self.found_good.lock().unwrap_or_else(PoisonError::into_inner) = (trust, now);
        }
        Ok(Arc::clone(&self.leaf))
    }
}

impl fmt::Debug for Shown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shown").field("leaf", &self.leaf).finish_non_exhaustive()
    }
}
