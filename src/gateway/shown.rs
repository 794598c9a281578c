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

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering};

    use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair, SanType, date_time_ymd};
    use rustls::pki_types::PrivateKeyDer;
    use rustls::time_provider::TimeProvider;

    use super::super::tls;
    use super::*;
    use crate::config::{Certified, ClientCertificates, ClientTrust};

    /// Seconds since 1970.
    #[derive(Debug)]
    struct At(AtomicU64);

    impl TimeProvider for At {
        fn current_time(&self) -> Option<UnixTime> {
            Some(UnixTime::since_unix_epoch(Duration::from_secs(self.0.load(Ordering::Relaxed))))
        }
    }

    fn authority() -> CertifiedIssuer<'static, KeyPair> {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap()
    }

    fn trusting(anchor: &CertifiedIssuer<'_, KeyPair>, at: &Arc<At>) -> Arc<Secured> {
        let own = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
        let key = PrivateKeyDer::try_from(own.signing_key.serialize_der()).unwrap();
        let trust = ClientTrust { anchors: vec![anchor.as_ref().der().clone()], revoked: Vec::new(), revoked_until: None };
        let own = Certified { chain: vec![own.cert.der().clone()], key };
        let secured = tls::server(&[own], &ClientCertificates::Require(trust)).unwrap();
        Arc::new(secured.at(Arc::clone(at) as Arc<dyn TimeProvider>))
    }

    #[test]
    fn a_certificate_counts_until_a_look_finds_it_run_out_or_distrusted() {
        // 2030-01-01 is its last day.
        const END: u64 = 1_893_456_000;
        let ca = authority();
        let mut params = CertificateParams::default();
        params.subject_alt_names = vec![SanType::URI("spiffe://example.com/app/crm".try_into().unwrap())];
        params.not_after = date_time_ymd(2030, 1, 1);
        let chain = vec![params.signed_by(&KeyPair::generate().unwrap(), &ca).unwrap().der().clone()];
        let at = Arc::new(At(AtomicU64::new(END - 30)));
        let (first, slot) = (trusting(&ca, &at), Arc::new(ArcSwap::new(trusting(&ca, &at))));
        slot.store(Arc::clone(&first));
        let shown = Shown::new(chain, first, Arc::clone(&slot)).unwrap();
        let counts = |second: u64| {
            at.0.store(second, Ordering::Relaxed);
            shown.certificate().map(|leaf| leaf.uris().to_vec())
        };
        let crm = Ok(vec!["spiffe://example.com/app/crm".to_owned()]);
        assert_eq!(crm, counts(END - 1));
        assert_eq!(crm, counts(END + 29), "looked at less than a minute ago");
        assert_eq!(Err(Distrusted), counts(END + 31));
        assert_eq!(Err(Distrusted), counts(END + 90), "a look that finds it bad is no look that counts");
        assert_eq!(crm, counts(END - 100));
        // Another trust is asked at once.
        slot.store(trusting(&authority(), &at));
        assert_eq!(Err(Distrusted), counts(END - 99));
        slot.store(trusting(&ca, &at));
        assert_eq!(crm, counts(END - 98));
        slot.store(Arc::new(Secured::from(rustls::ServerConfig::clone(&slot.load().config))));
        assert_eq!(Err(Distrusted), counts(END - 97), "nobody is asked for a certificate any more");
    }
}
