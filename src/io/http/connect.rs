//! From a URL to a [`Connection`]: names, sockets, proxies and TLS in their order, all of it
//! within one `send.connect_timeout`.
//!
//! ureq's own connectors speak SOCKS and `CONNECT`; the sockets, the TLS and what is on top of
//! them are ours.

use std::io;
use std::net::{IpAddr, SocketAddr, TcpStream, ToSocketAddrs};
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use ureq::config::Config;
use ureq::http::Uri;
use ureq::unversioned::resolver::{ResolvedSocketAddrs, Resolver};
use ureq::unversioned::transport::time::Duration as Span;
use ureq::unversioned::transport::{
    ConnectProxyConnector, ConnectionDetails, Connector, NextTimeout, SocksConnector, Transport,
};

use super::connection::Connection;
use super::exchange::Exchange;
use super::stream::{ProxiedStream, Stream, Tcp};
use super::tls;
use super::tunnel::Tunnel;
use crate::flow::endpoint::reply::FailureKind;

/// Makes the connections of one client.
#[derive(Debug)]
pub(super) struct Dialer {
    pub exchange: Exchange,
    /// For `https:` URLs.
    pub tls: Option<Arc<rustls::ClientConfig>>,
    /// `send.stall_timeout`.
    pub stall: Duration,
    /// The target in the form a forwarding proxy wants; see [`Connection::forwarded`].
    pub absolute: Option<String>,
    /// ureq has a proxy to go through, so a call without one is for the way to it.
    pub is_proxied: bool,
}

impl Connector<()> for Dialer {
    type Out = Box<dyn Transport>;

    fn connect(
        &self,
        details: &ConnectionDetails,
        _: Option<()>,
    ) -> Result<Option<Self::Out>, ureq::Error> {
        let details = self.within_the_budget(details)?;
        let mut stream = self.open(&details)?;
        let is_tls = details.uri.scheme_str() == Some("https");
        if is_tls {
            stream = self.secure(stream, &details)?;
        }
        if self.is_proxied && details.config.proxy().is_none() {
            return Ok(Some(Box::new(Tunnel::new(stream, is_tls, self.stall))));
        }
        let connection = Connection::new(stream, is_tls, self.exchange.clone(), self.stall)
            .forwarded(self.absolute.clone());
        Ok(Some(Box::new(connection)))
    }
}

impl Dialer {
    /// What resolving took is gone from the time to connect.
    fn within_the_budget<'a>(
        &self,
        details: &ConnectionDetails<'a>,
    ) -> Result<ConnectionDetails<'a>, ureq::Error> {
        let timeout = budget(&self.exchange, details.timeout)?;
        let mut addrs = details.resolver.empty();
        for addr in details.addrs.iter() {
            addrs.push(*addr);
        }
        Ok(ConnectionDetails {
            uri: details.uri,
            addrs,
            config: details.config,
            request_level: details.request_level,
            resolver: details.resolver,
            now: details.now,
            timeout,
            current_time: details.current_time.clone(),
            run_connector: details.run_connector.clone(),
            register_shutdown: details.register_shutdown.clone(),
        })
    }

    /// The bytes' way to the host of the URL, or to the proxy where that is asked for.
    fn open(&self, details: &ConnectionDetails) -> Result<Box<dyn Stream>, ureq::Error> {
        if details.config.proxy().is_some() {
            if let Some(transport) = through(&SocksConnector::default(), details)? {
                return Ok(Box::new(ProxiedStream::socket(transport, self.stall)));
            }
            if let Some(transport) = through(&ConnectProxyConnector::default(), details)? {
                return Ok(Box::new(ProxiedStream::tunnel(transport, self.stall)));
            }
        }
        let socket = dial(&details.addrs, *details.timeout.after)?;
        socket.set_nodelay(true)?;
        Ok(Box::new(Tcp::new(socket)))
    }

    fn secure(
        &self,
        stream: Box<dyn Stream>,
        details: &ConnectionDetails,
    ) -> Result<Box<dyn Stream>, ureq::Error> {
        let config = self.tls.clone().ok_or(ureq::Error::TlsRequired)?;
        let host = details.uri.host().unwrap_or_default();
        let deadline = self.exchange.state().plan.connect_by;
        let deadline = deadline.unwrap_or_else(Instant::now);
        tls::handshake(config, host, stream, deadline)
            .map(|stream| Box::new(stream) as _)
            .map_err(|err| match err.kind() {
                io::ErrorKind::TimedOut => ureq::Error::Timeout(ureq::Timeout::Connect),
                _ => {
                    self.exchange.fails_with(FailureKind::Tls);
                    err.into()
                }
            })
    }
}

/// A connection made by one of ureq's connectors; `None` if it is not for this kind of proxy.
fn through<C: Connector<Connection>>(
    connector: &C,
    details: &ConnectionDetails,
) -> Result<Option<Box<dyn Transport>>, ureq::Error> {
    let transport = connector.connect(details, None)?;
    Ok(transport.map(|transport| Box::new(transport) as Box<dyn Transport>))
}

/// What is left of the time to connect.
fn budget(exchange: &Exchange, timeout: NextTimeout) -> Result<NextTimeout, ureq::Error> {
    let Some(by) = exchange.state().plan.connect_by else {
        return Ok(timeout);
    };
    let left = by.saturating_duration_since(Instant::now());
    if left.is_zero() {
        return Err(ureq::Error::Timeout(ureq::Timeout::Connect));
    }
    Ok(NextTimeout {
        after: Span::from(left),
        reason: ureq::Timeout::Connect,
        ..timeout
    })
}

/// Tries the addresses in turn. An address that does not answer gets half of
/// the time that is left, unless it is the last one.
fn dial(addrs: &[SocketAddr], budget: Duration) -> Result<TcpStream, ureq::Error> {
    let deadline = Instant::now() + budget;
    let mut last = io::Error::from(io::ErrorKind::AddrNotAvailable);
    for (index, addr) in addrs.iter().enumerate() {
        let left = deadline.saturating_duration_since(Instant::now());
        let wait = if index + 1 < addrs.len() {
            left / 2
        } else {
            left
        };
        if wait.is_zero() {
            break;
        }
        match TcpStream::connect_timeout(addr, wait) {
            Ok(socket) => return Ok(socket),
            Err(err) => last = err,
        }
    }
    match last.kind() {
        io::ErrorKind::TimedOut | io::ErrorKind::WouldBlock => {
            Err(ureq::Error::Timeout(ureq::Timeout::Connect))
        }
        _ => Err(last.into()),
    }
}

/// Looks names up; those that are addresses already cost nothing.
#[derive(Debug)]
pub(super) struct EndpointResolver {
    pub exchange: Exchange,
    /// A forwarding proxy: connected to in place of the endpoint.
    pub instead: Option<Uri>,
}

impl Resolver for EndpointResolver {
    fn resolve(
        &self,
        uri: &Uri,
        _: &Config,
        timeout: NextTimeout,
    ) -> Result<ResolvedSocketAddrs, ureq::Error> {
        let uri = self.instead.as_ref().unwrap_or(uri);
        let host = uri.host().unwrap_or_default();
        let port = uri.port_u16().unwrap_or(match uri.scheme_str() {
            Some("https") => 443,
            Some("http") | None => 80,
            Some(_) => 1080,
        });
        let mut addrs = self.empty();
        if let Ok(ip) = host.trim_matches(['[', ']']).parse::<IpAddr>() {
            addrs.push(SocketAddr::new(ip, port));
            return Ok(addrs);
        }
        let timeout = budget(&self.exchange, timeout)?;
        let found = look_up(host.to_owned(), port, *timeout.after)
            .inspect_err(|_| self.exchange.fails_with(FailureKind::Resolve))?;
        for addr in found.into_iter().take(16) {
            addrs.push(addr);
        }
        if addrs.is_empty() {
            self.exchange.fails_with(FailureKind::Resolve);
            return Err(ureq::Error::HostNotFound);
        }
        Ok(addrs)
    }
}

/// The system's resolver knows no timeout, so it is left behind when it takes too long.
fn look_up(host: String, port: u16, within: Duration) -> Result<Vec<SocketAddr>, ureq::Error> {
    let (tell, told) = mpsc::sync_channel(1);
    thread::Builder::new()
        .name("resolve".into())
        .spawn(move || {
            let found = (host.as_str(), port).to_socket_addrs().map(Vec::from_iter);
            // Nobody may be waiting any more.
            tell.send(found).ok();
        })?;
    match told.recv_timeout(within) {
        Ok(found) => Ok(found?),
        Err(_) => Err(ureq::Error::Timeout(ureq::Timeout::Resolve)),
    }
}
