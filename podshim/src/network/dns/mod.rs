//! Names, answered inside the pod's own network namespace.
//!
//! What a member asks its gateway on port 53 is sent by a rule in its namespace to sockets of ours on its 127.0.0.1: so a
//! dead shim affects its own pod only, and a pod may run a server of its own on port 53. Names of pods are answered from
//! the records ([`names`]), everything else is asked from the host's side ([`forward`]), never from an internal network.
//! What comes in is hostile: one question, small messages, few clients at once, a time for each.

mod answer;
mod forward;
mod names;

use std::{
    net::{Ipv4Addr, SocketAddr, TcpListener as StdTcpListener, UdpSocket as StdUdpSocket},
    os::fd::BorrowedFd,
    sync::Arc,
    time::Duration,
};

use proto::{
    Id, Refusal,
    record::{self, NetworkStatus, PodRecord},
    refusal::Result,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream, UdpSocket},
    task::{JoinHandle, JoinSet},
    time::timeout,
};

use self::{
    answer::{Query, Verdict},
    forward::Upstream,
    names::Names,
};
use super::{Networks, firewall, netlink::Socket, resolv::dns_gateways, worker};

/// Questions that are asked upstream at once; more are answered with a failure.
const FORWARDS: usize = 128;
/// TCP connections at once; more are closed.
const CONNECTIONS: usize = 64;
/// A client that is silent for longer is left.
const SILENCE: Duration = Duration::from_secs(3);
/// Largest question.
const QUESTION: usize = 1232;
/// Pause after an error of a socket that may come again at once (no descriptors left).
const PAUSE: Duration = Duration::from_millis(100);

/// A running DNS server.
#[derive(Debug, Default)]
pub struct DnsServer {
    tasks: Vec<JoinHandle<()>>,
}

impl Drop for DnsServer {
    fn drop(&mut self) {
        // Their clients' tasks belong to them and end with them.
        self.tasks.iter().for_each(JoinHandle::abort);
    }
}

/// What every client's task needs.
#[derive(Debug)]
struct Server {
    names: Names,
    upstream: Option<Upstream>,
}

/// Answers DNS inside the pod's network namespace until the returned handle is dropped. Where none of its networks
/// answers names nothing runs. Called in a tokio runtime.
///
/// # Errors
/// When sockets or the rule cannot be made there.
pub fn serve(networks: &Networks, pod: &Id, netns: BorrowedFd<'_>, status: &[NetworkStatus]) -> Result<DnsServer> {
    let gateways = dns_gateways(networks, status)?;
    if gateways.is_empty() {
        return Ok(DnsServer::default());
    }
    let (udp, tcp) = worker::inside(netns, || sockets(&gateways).map_err(|error| failed("its sockets", error)))?;
    let udp = UdpSocket::from_std(udp).map_err(|error| failed("its UDP socket", error))?;
    let tcp = TcpListener::from_std(tcp).map_err(|error| failed("its TCP socket", error))?;
    let server =
        Arc::new(Server { names: Names::new(&networks.roots, status), upstream: upstream(networks, pod, status)? });
    let tasks = vec![tokio::spawn(serve_udp(udp, Arc::clone(&server))), tokio::spawn(serve_tcp(tcp, server))];
    Ok(DnsServer { tasks })
}

fn failed(what: &str, error: impl std::fmt::Display) -> Refusal {
    Refusal::internal(format_args!("DNS: {what}"), error)
}

/// Sockets of this thread's namespace, and the rule that leads to them.
fn sockets(gateways: &[Ipv4Addr]) -> std::io::Result<(StdUdpSocket, StdTcpListener)> {
    let any = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    let (udp, tcp) = (StdUdpSocket::bind(any)?, StdTcpListener::bind(any)?);
    udp.set_nonblocking(true)?;
    tcp.set_nonblocking(true)?;
    let (udp_port, tcp_port) = (udp.local_addr()?.port(), tcp.local_addr()?.port());
    firewall::redirect_dns(&mut Socket::netfilter()?, gateways, udp_port, tcp_port)?;
    Ok((udp, tcp))
}

/// Who answers what we do not know: the servers of `--dns`, of the networks, of the host; nobody on internal networks.
fn upstream(networks: &Networks, pod: &Id, status: &[NetworkStatus]) -> Result<Option<Upstream>> {
    if status.iter().all(|status| status.gateway.is_empty()) {
        return Ok(None);
    }
    let parse = |servers: &[String]| servers.iter().filter_map(|server| server.parse().ok()).collect::<Vec<_>>();
    // A pod without a record has no wishes.
    let own = record::read::<PodRecord>(&networks.roots.pod_record(pod)).ok().and_then(|pod| pod.config.network);
    let mut servers = own.map(|network| parse(&network.dns_servers)).unwrap_or_default();
    if servers.is_empty() {
        for status in status.iter().filter(|status| status.dns) {
            servers.extend(parse(&networks.get(&status.network)?.dns_servers));
        }
    }
    Ok(Some(Upstream::new(servers)))
}

async fn serve_udp(socket: UdpSocket, server: Arc<Server>) {
    let socket = Arc::new(socket);
    let mut forwards = JoinSet::new();
    let mut buffer = [0; QUESTION];
    loop {
        let (length, client) = tokio::select! {
            received = socket.recv_from(&mut buffer) => match received {
                Ok(received) => received,
                // The error of an earlier answer, reported now.
                Err(_) => {
                    tokio::time::sleep(PAUSE).await;
                    continue;
                }
            },
            Some(_) = forwards.join_next() => continue,
        };
        let Some(query) = Query::parse(&buffer[..length]) else { continue };
        match query.answer(&server.names, server.upstream.is_some()) {
            Verdict::Reply(reply) => send(&socket, &query.fit(reply), client).await,
            Verdict::Forward if forwards.len() >= FORWARDS => send(&socket, &query.failure(), client).await,
            Verdict::Forward => {
                let (socket, server) = (Arc::clone(&socket), Arc::clone(&server));
                forwards.spawn(async move {
                    let reply = match &server.upstream {
                        Some(upstream) => upstream.ask_udp(&query).await,
                        None => None,
                    };
                    let reply = reply.map_or_else(|| query.failure(), |reply| query.fit(reply));
                    send(&socket, &reply, client).await;
                });
            }
        }
    }
}

/// An answer that cannot be sent is a lost datagram.
async fn send(socket: &UdpSocket, reply: &[u8], client: SocketAddr) {
    let _ = socket.send_to(reply, client).await;
}

async fn serve_tcp(listener: TcpListener, server: Arc<Server>) {
    let mut clients = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) if clients.len() < CONNECTIONS => {
                    let server = Arc::clone(&server);
                    // Whatever ends a connection ends only that one.
                    clients.spawn(async move { let _ = serve_connection(stream, &server).await; });
                }
                Ok(_) => {}
                Err(_) => tokio::time::sleep(PAUSE).await,
            },
            Some(_) = clients.join_next() => {}
        }
    }
}

/// Questions and answers behind their lengths (RFC 1035, 4.2.2) until the client is silent or does not obey.
async fn serve_connection(mut stream: TcpStream, server: &Server) -> std::io::Result<()> {
    let mut buffer = [0; QUESTION];
    loop {
        let length = timeout(SILENCE, stream.read_u16()).await??;
        let Some(bytes) = buffer.get_mut(..usize::from(length)) else { return Ok(()) };
        timeout(SILENCE, stream.read_exact(bytes)).await??;
        let Some(query) = Query::parse(bytes) else { return Ok(()) };
        let reply = match (query.answer(&server.names, server.upstream.is_some()), &server.upstream) {
            (Verdict::Reply(reply), _) => reply,
            (Verdict::Forward, Some(upstream)) => upstream.ask_tcp(&query).await.unwrap_or_else(|| query.failure()),
            (Verdict::Forward, None) => query.failure(),
        };
        let Ok(length) = u16::try_from(reply.len()) else { return Ok(()) };
        let framed = [&length.to_be_bytes()[..], &reply].concat();
        timeout(SILENCE, stream.write_all(&framed)).await??;
    }
}
