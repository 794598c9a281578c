//! One issuer's keys over time: read from a file, a fixed address or where the issuer's metadata say, used for as long as they are young enough, read again
//! when a token names a key that is not there. However many such tokens come, the source is asked by one at a time and
//! once in [`REFETCH_PAUSE`].

use std::fmt;
use std::fs::File;
use std::io::{self, Read as _};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use arc_swap::ArcSwapOption;
use tokio::sync::Mutex;

use super::discovery::keys_at;
use super::fetch::{FETCH_TIMEOUT, KEY_SET_BYTES_MAX, key_url};
use super::keys::{Key, KeySet};
use super::{AuthError, IdentityError, IssuerSettings, KeyFetch, KeySource, KeyState, TokenFault};
use crate::clock::Clock;

/// Between two questions to the source while there are keys to work with.
const REFETCH_PAUSE: Duration = Duration::from_secs(30);
/// Between two questions while there are none.
const RETRY_PAUSE: Duration = Duration::from_secs(5);
/// Keys older than this are read again in the background, so that a key withdrawn by its issuer stops counting soon.
const REFRESH_AFTER: Duration = Duration::from_secs(600);

pub(super) struct KeyRing {
    settings: Arc<IssuerSettings>,
    fetch: Arc<dyn KeyFetch>,
    clock: Arc<dyn Clock>,
    loaded: ArcSwapOption<Loaded>,
    /// When the source was last asked; held while it is being asked.
    asked: Mutex<Option<Duration>>,
    failing: AtomicBool,
}

struct Loaded {
    set: KeySet,
    at: Duration,
}

impl KeyRing {
    pub(super) fn new(settings: Arc<IssuerSettings>, fetch: Arc<dyn KeyFetch>, clock: Arc<dyn Clock>) -> Result<Arc<Self>, IdentityError> {
        let issuer = settings.name;
        let loaded = match &settings.keys {
            KeySource::Url(url) | KeySource::Discovery(url) if key_url(url).is_some() => None,
            KeySource::Url(url) | KeySource::Discovery(url) => return Err(IdentityError::KeyUrl { issuer, url: url.clone() }),
            KeySource::File(path) => {
                let bytes = read(path).map_err(|source| IdentityError::KeyFile { issuer, path: path.clone(), source })?;
                let set = KeySet::parse(&bytes).map_err(|reason| IdentityError::KeySet { issuer, reason })?;
                Some(Arc::new(Loaded { set, at: clock.monotonic() }))
            }
        };
        let loaded = ArcSwapOption::new(loaded);
        Ok(Arc::new(Self { settings, fetch, clock, loaded, asked: Mutex::new(None), failing: AtomicBool::new(false) }))
    }

    /// The key that a token names.
    pub(super) async fn key(self: &Arc<Self>, kid: Option<&str>) -> Result<Arc<Key>, AuthError> {
        if let Some(loaded) = self.young() {
            match (loaded.set.key(kid), kid) {
                (Some(key), _) => return Ok(key),
                // Asking again does not tell which of several keys is meant.
                (None, None) => return Err(TokenFault::UnknownKey.into()),
                (None, Some(_)) => {}
            }
        }
        let ring = Arc::clone(self);
        // A task of its own: a caller who hangs up does not interrupt what others wait for.
        let asking = tokio::spawn(async move { ring.ask().await });
        if asking.await.is_err() {
            return Err(AuthError::KeysUnavailable);
        }
        let loaded = self.young().ok_or(AuthError::KeysUnavailable)?;
        Ok(loaded.set.key(kid).ok_or(TokenFault::UnknownKey)?)
    }

    /// Reads the keys again if they are due.
    pub(super) async fn refresh(&self) {
        let refresh_after = REFRESH_AFTER.min(self.settings.keys_max_age / 2);
        if self.age().is_none_or(|age| age >= refresh_after) {
            self.ask().await;
        }
    }

    pub(super) fn state(&self) -> KeyState {
        match self.age() {
            Some(age) if age > self.settings.keys_max_age => KeyState::Missing,
            Some(age) if self.failing.load(Ordering::Relaxed) => KeyState::Stale(age),
            Some(_) => KeyState::Fresh,
            None => KeyState::Missing,
        }
    }

    fn age(&self) -> Option<Duration> {
        self.loaded.load().as_ref().map(|loaded| self.clock.monotonic().saturating_sub(loaded.at))
    }

    fn young(&self) -> Option<Arc<Loaded>> {
        let loaded = self.loaded.load_full()?;
        let age = self.clock.monotonic().saturating_sub(loaded.at);
        (age <= self.settings.keys_max_age).then_some(loaded)
    }

    async fn ask(&self) {
        let mut asked = self.asked.lock().await;
        let now = self.clock.monotonic();
        let pause = if self.young().is_some() { REFETCH_PAUSE } else { RETRY_PAUSE };
        if asked.is_some_and(|before| now.saturating_sub(before) < pause) {
            return;
        }
        *asked = Some(now);
        match self.read().await {
            Ok(set) => {
                self.loaded.store(Some(Arc::new(Loaded { set, at: now })));
                self.failing.store(false, Ordering::Relaxed);
            }
            Err(reason) => {
                self.failing.store(true, Ordering::Relaxed);
                tracing::warn!(issuer = %self.settings.name, reason, "the keys of an issuer could not be read again");
            }
        }
    }

    async fn read(&self) -> Result<KeySet, String> {
        let bytes = match &self.settings.keys {
            KeySource::File(path) => {
                let path = path.clone();
                let read = tokio::task::spawn_blocking(move || read(&path)).await.map_err(|error| error.to_string())?;
                read.map_err(|error| error.to_string())?
            }
            KeySource::Url(url) => self.fetched(url).await?,
            // Where they are is asked each time: keys that moved are found as soon as keys that changed.
            KeySource::Discovery(url) => {
                let metadata = self.fetched(url).await?;
                self.fetched(&keys_at(&metadata, url, &self.settings.issuer)?).await?
            }
        };
        bounded(&bytes)?;
        KeySet::parse(&bytes)
    }

    async fn fetched(&self, url: &str) -> Result<Vec<u8>, String> {
        let fetched = tokio::time::timeout(FETCH_TIMEOUT, self.fetch.fetch(url)).await;
        let bytes = fetched.map_err(|_elapsed| format!("no answer within {} s", FETCH_TIMEOUT.as_secs()))??;
        bounded(&bytes)?;
        Ok(bytes.to_vec())
    }
}

impl fmt::Debug for KeyRing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeyRing").field("issuer", &self.settings.name).field("state", &self.state()).finish_non_exhaustive()
    }
}

fn bounded(bytes: &[u8]) -> Result<(), String> {
    if bytes.len() > KEY_SET_BYTES_MAX { Err(format!("the answer is longer than {KEY_SET_BYTES_MAX} bytes")) } else { Ok(()) }
}

/// A key file, one byte more than allowed at most, so that its length tells.
fn read(path: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let limit = u64::try_from(KEY_SET_BYTES_MAX).unwrap_or(u64::MAX);
    File::open(path)?.take(limit.saturating_add(1)).read_to_end(&mut bytes)?;
    Ok(bytes)
}
