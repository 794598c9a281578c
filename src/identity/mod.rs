//! Who calls: a client certificate, a token, or both, become one [`Principal`] or nothing.
//!
//! - A certificate counts by an exact SAN URI or DNS name ([`PeerCertificate`]); never by its common name.
//! - A token is a signed JWT ([RFC 7519](https://www.rfc-editor.org/rfc/rfc7519), [RFC 8725](https://www.rfc-editor.org/rfc/rfc8725))
//!   of a configured issuer ([`Verifier`]), bound to the certificate
//!   ([RFC 8705](https://www.rfc-editor.org/rfc/rfc8705)) or to a key of which each request proves possession
//!   ([RFC 9449](https://www.rfc-editor.org/rfc/rfc9449)), unless the configuration says otherwise.
//! - Both, when present, must name the same client ([`Authenticator`]).
//! - What a principal may ask data for is [`choose_purpose`].
//!
//! A [`Principal`] has private fields: only this room can make one, so holding one means that the checks were passed.
//! Department and registered purposes come from the catalogue, never from a credential.

mod authenticator;
mod cache;
mod certificate;
mod dev;
mod discovery;
mod dpop;
mod error;
mod fetch;
mod json;
mod keyring;
mod keys;
mod principal;
mod purpose;
mod seen;
mod settings;
#[cfg(test)]
mod tests;
mod time;
mod token;
mod verifier;

pub use authenticator::Authenticator;
pub use certificate::PeerCertificate;
pub use dev::{SignError, TokenSigner};
pub use dpop::Sent;
pub use error::{AuthError, IdentityError, ProofFault, PurposeError, TokenFault};
pub use fetch::{BoxFuture, HttpsKeyFetch, KeyFetch};
pub use principal::{Credentials, Principal, UnknownTask, pseudonym};
pub use purpose::{PurposeRule, choose_purpose};
pub use settings::{Algorithm, ClaimNames, ClientSettings, IssuerSettings, KeySource, SenderConstraint};
pub use verifier::{KeyState, KeyStatus, VerifiedToken, Verifier};
