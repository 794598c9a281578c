//! An HTTPS receiver: one POST for each batch, acknowledged by 2xx. Redirects are not followed.

use bytes::Bytes;
use http::{HeaderValue, Method, Request, StatusCode, header};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use serde_json::Value;

use super::{Unsent, trouble};
use crate::config::ExportSettings;
use crate::gateway::tls::{self, TlsError};
use crate::model::EventFormat;

const ANSWER_BYTES_MAX: usize = 64 * 1024;

pub(super) struct Https {
    client: Client<HttpsConnector<HttpConnector>, Full<Bytes>>,
    url: String,
    format: EventFormat,
    token: Option<HeaderValue>,
}

impl std::fmt::Debug for Https {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Https").field("url", &self.url).finish_non_exhaustive()
    }
}

impl Https {
    pub(super) fn new(url: &str, format: EventFormat, settings: &ExportSettings) -> Result<Self, TlsError> {
        let tls = tls::client(Some(&settings.tls))?;
        let connector = HttpsConnectorBuilder::new().with_tls_config(tls).https_or_http().enable_http1().build();
        let client = Client::builder(TokioExecutor::new()).pool_max_idle_per_host(1).build(connector);
        Ok(Self { client, url: url.to_owned(), format, token: settings.token.clone() })
    }

    pub(super) async fn post(&self, payload: Bytes) -> Result<(), Unsent> {
        let mut request = Request::builder()
            .method(Method::POST)
            .uri(&self.url)
            .header(header::CONTENT_TYPE, self.format.content_type())
            .header(header::USER_AGENT, concat!("consentry/", env!("CARGO_PKG_VERSION")));
        if let Some(token) = &self.token {
            request = request.header(header::AUTHORIZATION, token);
        }
        let request = request.body(Full::new(payload)).map_err(|error| trouble(&error))?;
        let answer = self.client.request(request).await.map_err(|error| trouble(&error))?;
        let (head, body) = answer.into_parts();
        let body = Limited::new(body, ANSWER_BYTES_MAX).collect().await.map(http_body_util::Collected::to_bytes);
        match head.status {
            StatusCode::PAYLOAD_TOO_LARGE => Err(Unsent::TooLarge),
            status if !status.is_success() => Err(Unsent::Trouble(format!("it answered {}; only 2xx is taken for received", status.as_u16()))),
            _ if self.format == EventFormat::Otlp => match body {
                Ok(body) => taken_whole(&body),
                Err(error) => Err(Unsent::Trouble(format!("its answer cannot be read: {error}"))),
            },
            // The head has said it.
            _ => Ok(()),
        }
    }
}

/// A receiver of OTLP may take a part and say so in a 200. The protocol asks not to send the rest again; here it is not passed over:
/// evidence that somebody lacks is somebody's business.
fn taken_whole(answer: &[u8]) -> Result<(), Unsent> {
    if answer.iter().all(u8::is_ascii_whitespace) {
        return Ok(());
    }
    let Ok(answer) = serde_json::from_slice::<Value>(answer) else {
        return Err(Unsent::Trouble("its answer is no JSON; is this an OTLP receiver?".to_owned()));
    };
    let rejected = answer.pointer("/partialSuccess/rejectedLogRecords");
    let rejected = rejected.and_then(|number| number.as_u64().or_else(|| number.as_str()?.parse().ok())).unwrap_or_default();
    if rejected == 0 { Ok(()) } else { Err(Unsent::Trouble(format!("it rejected {rejected} events of a batch"))) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_partial_success_is_no_acknowledgement() {
        for answer in ["", "{}", "{\"partialSuccess\":{}}", "{\"partialSuccess\":{\"rejectedLogRecords\":\"0\"}}"] {
            assert_eq!(taken_whole(answer.as_bytes()), Ok(()), "{answer}");
        }
        for answer in ["<html>", "{\"partialSuccess\":{\"rejectedLogRecords\":\"2\"}}", "{\"partialSuccess\":{\"rejectedLogRecords\":2}}"] {
            assert!(taken_whole(answer.as_bytes()).is_err(), "{answer}");
        }
    }
}
