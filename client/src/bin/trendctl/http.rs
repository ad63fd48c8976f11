//! One request to a server, and its answer in JSON.

use anyhow::{Context as _, bail};
use serde_json::Value;
use std::time::Duration;
use ureq::Agent;
use ureq::http::{Method, Request};

/// A server's HTTP side.
#[derive(Debug)]
pub(crate) struct Server {
    address: String,
    agent: Agent,
}

impl Server {
    /// The server at this address.
    pub(crate) fn new(address: &str) -> Self {
        let agent = Agent::config_builder()
            // What was refused is told in the body.
            .http_status_as_error(false)
            .timeout_global(Some(TIME_MAX))
            .proxy(None)
            .build();
        let address = address.trim_start_matches("http://").trim_end_matches('/').to_owned();
        Self { address, agent: agent.into() }
    }

    /// Asks.
    ///
    /// # Errors
    /// When the server is not there, or refuses: in its own words.
    pub(crate) fn ask(&self, method: Method, path: &str, body: &[u8]) -> anyhow::Result<Value> {
        let uri = format!("http://{}{path}", self.address);
        let request = Request::builder().method(&method).uri(&uri);
        let missing = || format!("no answer from {uri}: is trendsrv running, is --http right?");
        let response = match method {
            Method::PUT => self.agent.run(request.body(body)?),
            _ => self.agent.run(request.body(())?),
        };
        let mut response = response.with_context(missing)?;
        let status = response.status();
        let limited = response.body_mut().with_config().limit(ANSWER_BYTES_MAX);
        let text = limited.read_to_string().with_context(missing)?;
        let answer: Value = serde_json::from_str(&text)
            .with_context(|| format!("{uri} answered {status}, and not in JSON"))?;
        if status.is_success() {
            return Ok(answer);
        }
        let word = |name: &str| answer[name].as_str().unwrap_or_default().to_owned();
        bail!("{} ({}, HTTP {})", word("message"), word("code"), status.as_u16());
    }
}

/// A name as part of a path.
pub(crate) fn escape(name: &str) -> String {
    let mut path = String::new();
    for byte in name.bytes() {
        if byte.is_ascii_alphanumeric() || b"-_".contains(&byte) {
            path.push(char::from(byte));
        } else {
            path.push_str(&format!("%{byte:02X}"));
        }
    }
    path
}

/// Compiling may take most of it.
const TIME_MAX: Duration = Duration::from_secs(60);
const ANSWER_BYTES_MAX: u64 = 64 << 20;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_survive_the_path() {
        assert_eq!(escape("#en.wikipedia"), "%23en%2Ewikipedia");
        assert_eq!(escape("ä/.."), "%C3%A4%2F%2E%2E");
        assert_eq!(escape("plain-1_2"), "plain-1_2");
    }
}
