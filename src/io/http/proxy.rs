//! Which way to the endpoint: straight, or through whose proxy.
//!
//! The environment is read as curl reads it: `https_proxy` or `http_proxy` by
//! the URL's scheme, then `all_proxy`, in either case; `no_proxy` lists hosts
//! (and their subdomains), addresses and networks that are reached straight,
//! `*` for all. For `http:` URLs an HTTP proxy is asked to forward, as most
//! allow `CONNECT` to port 443 only; for `https:` it is asked to connect.

use std::env;
use std::net::IpAddr;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use ureq::ProxyProtocol;
use ureq::http::Uri;
use ureq::http::header::HeaderValue;

use super::Error;
use crate::config::Proxy;

/// How the endpoint is reached.
#[derive(Clone, Debug)]
pub(super) enum ProxyRoute {
    /// Straight to the endpoint.
    Straight,
    /// The proxy gets the whole URL and, where it wants one, a password.
    Forward {
        proxy: Uri,
        authorization: Option<HeaderValue>,
    },
    /// ureq speaks SOCKS or `CONNECT` to it.
    ByUreq(ureq::Proxy),
}

impl ProxyRoute {
    /// The proxy's host and port, for sentences.
    pub fn host(&self) -> Option<String> {
        match self {
            ProxyRoute::Straight => None,
            ProxyRoute::Forward { proxy, .. } => Some(format!(
                "{}:{}",
                proxy.host()?,
                proxy.port_u16().unwrap_or(80)
            )),
            ProxyRoute::ByUreq(proxy) => Some(format!("{}:{}", proxy.host(), proxy.port())),
        }
    }
}

/// The way to `endpoint`.
///
/// # Errors
/// The configuration or the environment names a proxy that cannot be used.
pub(super) fn route(config: &Proxy, endpoint: &Uri) -> Result<ProxyRoute, Error> {
    let https = endpoint.scheme_str() == Some("https");
    match config {
        Proxy::None => Ok(ProxyRoute::Straight),
        Proxy::Url(url) => by_url(url, https, "send.proxy"),
        Proxy::Environment => {
            let scheme = if https { "https_proxy" } else { "http_proxy" };
            let host = endpoint.host().unwrap_or_default();
            match variable(scheme).or_else(|| variable("all_proxy")) {
                Some(_) if excepted(&variable("no_proxy").unwrap_or_default(), host) => {
                    Ok(ProxyRoute::Straight)
                }
                Some(url) => by_url(&url, https, scheme),
                None => Ok(ProxyRoute::Straight),
            }
        }
    }
}

fn variable(name: &str) -> Option<String> {
    [name.to_owned(), name.to_ascii_uppercase()]
        .iter()
        .find_map(|name| env::var(name).ok().filter(|value| !value.is_empty()))
}

fn by_url(url: &str, https: bool, source: &str) -> Result<ProxyRoute, Error> {
    // The URL itself may hold a password, so it is not shown.
    let proxy = ureq::Proxy::new(url).map_err(|_| {
        Error(format!(
            "{source} is not the URL of a proxy: write it as http://host:port or \
             socks5://host:port, with a user and password percent-encoded"
        ))
    })?;
    if https || proxy.protocol() != ProxyProtocol::Http {
        return Ok(ProxyRoute::ByUreq(proxy));
    }
    let authorization = (proxy.username().is_some() || proxy.password().is_some()).then(|| {
        let user = proxy.username().unwrap_or_default();
        let password = proxy.password().unwrap_or_default();
        let pair = BASE64_STANDARD.encode(format!("{user}:{password}"));
        let mut value = HeaderValue::try_from(format!("Basic {pair}"))
            .unwrap_or_else(|_| HeaderValue::from_static(""));
        value.set_sensitive(true);
        value
    });
    let bare = Uri::builder()
        .scheme("http")
        .authority(format!(
            "{}:{}",
            proxy.host(),
            proxy.uri().port_u16().unwrap_or(80)
        ))
        .path_and_query("/")
        .build()
        .map_err(|_| Error(format!("{source} does not name a host")))?;
    Ok(ProxyRoute::Forward {
        proxy: bare,
        authorization,
    })
}

/// Whether `no_proxy` means `host`.
fn excepted(no_proxy: &str, host: &str) -> bool {
    let host = host.trim_matches(['[', ']']).to_ascii_lowercase();
    let address: Option<IpAddr> = host.parse().ok();
    no_proxy
        .split([',', ' '])
        .map(str::trim)
        .filter(|entry| !entry.is_empty())
        .any(|entry| {
            if entry == "*" {
                return true;
            }
            if let (Some(address), Some((network, bits))) = (address, entry.split_once('/')) {
                return within(address, network, bits).unwrap_or(false);
            }
            let entry = entry
                .trim_start_matches("*.")
                .trim_start_matches('.')
                .to_ascii_lowercase();
            let entry = entry.trim_matches(['[', ']']);
            host == entry
                || address.is_none()
                    && host
                        .strip_suffix(entry)
                        .is_some_and(|front| front.ends_with('.'))
        })
}

fn within(address: IpAddr, network: &str, bits: &str) -> Option<bool> {
    let bits: u32 = bits.parse().ok()?;
    Some(match (address, network.parse().ok()?) {
        (IpAddr::V4(address), IpAddr::V4(network)) if bits <= 32 => {
            let mask = u32::MAX.checked_shl(32 - bits).unwrap_or(0);
            (address.to_bits() ^ network.to_bits()) & mask == 0
        }
        (IpAddr::V6(address), IpAddr::V6(network)) if bits <= 128 => {
            let mask = u128::MAX.checked_shl(128 - bits).unwrap_or(0);
            (address.to_bits() ^ network.to_bits()) & mask == 0
        }
        _ => false,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_proxy_means_hosts_subdomains_and_networks() {
        let list = "localhost, .corp.example,*.lab.example 10.0.0.0/8,[::1],fd00::/8";
        for host in [
            "localhost",
            "corp.example",
            "a.corp.example",
            "x.LAB.example",
            "10.1.2.3",
        ] {
            assert!(excepted(list, host), "{host}");
        }
        for host in ["[::1]", "[fd00::5]"] {
            assert!(excepted(list, host), "{host}");
        }
        for host in [
            "example",
            "notcorp.example",
            "11.0.0.1",
            "localhost.example",
            "[fe80::1]",
        ] {
            assert!(!excepted(list, host), "{host}");
        }
        assert!(excepted("*", "anything"));
        assert!(!excepted("", "anything"));
        assert!(excepted("0.0.0.0/0", "1.2.3.4"));
    }

    #[test]
    fn plain_urls_are_forwarded_and_the_password_is_kept_apart() {
        let route = by_url("http://me:se%40cret@proxy:3128", false, "send.proxy").unwrap();
        let ProxyRoute::Forward {
            proxy,
            authorization,
        } = &route
        else {
            panic!("{route:?}")
        };
        assert_eq!(proxy.to_string(), "http://proxy:3128/");
        assert_eq!(authorization.as_ref().unwrap(), "Basic bWU6c2VAY3JldA==");
        assert!(!format!("{route:?}").contains("cret"));
        let route = by_url("http://me:secret@proxy:3128", true, "send.proxy").unwrap();
        assert!(matches!(route, ProxyRoute::ByUreq(_)));
        assert!(!format!("{route:?}").contains("secret"));
        let route = by_url("socks5h://proxy", false, "send.proxy").unwrap();
        assert!(matches!(route, ProxyRoute::ByUreq(_)));
        let err = by_url("http://me:secret@:bad:", false, "send.proxy").unwrap_err();
        assert!(!err.to_string().contains("secret"));
    }
}
