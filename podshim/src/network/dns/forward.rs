//! Asking others, from the host's side.

use std::{
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    time::Duration,
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpStream, UdpSocket},
    time::timeout,
};

use super::answer::Query;
use crate::network::resolv;

/// The port of DNS.
const PORT: u16 = 53;
/// How long one server has. A client's resolver asks again after five seconds.
const PATIENCE: Duration = Duration::from_secs(2);
/// The same by TCP, for everything together.
const PATIENCE_TCP: Duration = Duration::from_secs(3);
/// Servers that are asked one after the other (resolv.conf(5): MAXNS).
const SERVERS: usize = 3;
/// Largest datagram that is looked at.
const DATAGRAM: usize = 4096;

/// Servers that know what we do not.
#[derive(Clone, Debug)]
pub(super) struct Upstream {
    /// Those asked for; none = the host's, as they are at the moment of the question.
    servers: Vec<IpAddr>,
}

impl Upstream {
    /// `servers`, or the host's.
    pub(super) fn new(servers: Vec<IpAddr>) -> Upstream {
        Upstream { servers }
    }

    fn servers(&self) -> Vec<IpAddr> {
        let mut servers = if self.servers.is_empty() { resolv::host_servers() } else { self.servers.clone() };
        servers.truncate(SERVERS);
        servers
    }

    /// The answer of the first server that has one; `None` when nobody has.
    pub(super) async fn ask_udp(&self, query: &Query) -> Option<Vec<u8>> {
        for server in self.servers() {
            if let Ok(Ok(Some(reply))) = timeout(PATIENCE, by_udp(server, query)).await {
                return Some(reply);
            }
        }
        None
    }

    /// The same by TCP.
    pub(super) async fn ask_tcp(&self, query: &Query) -> Option<Vec<u8>> {
        for server in self.servers() {
            if let Ok(Ok(Some(reply))) = timeout(PATIENCE_TCP, by_tcp(server, query)).await {
                return Some(reply);
            }
        }
        None
    }
}

fn random_id() -> io::Result<u16> {
    let mut bytes = [0; 2];
    getrandom::fill(&mut bytes).map_err(io::Error::other)?;
    Ok(u16::from_ne_bytes(bytes))
}

/// A port and a number of our own for every question: both must be guessed to forge an answer.
async fn by_udp(server: IpAddr, query: &Query) -> io::Result<Option<Vec<u8>>> {
    let any = match server {
        IpAddr::V4(_) => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
        IpAddr::V6(_) => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
    };
    let socket = UdpSocket::bind(SocketAddr::new(any, 0)).await?;
    socket.connect(SocketAddr::new(server, PORT)).await?;
    let id = random_id()?;
    socket.send(&query.with_id(id)).await?;
    let mut buffer = vec![0; DATAGRAM];
    loop {
        let length = socket.recv(&mut buffer).await?;
        // What is no answer to our question may be an attempt at one: the true one is still to come.
        if let Some(reply) = query.accept(id, buffer[..length].to_vec()) {
            return Ok(Some(reply));
        }
    }
}

async fn by_tcp(server: IpAddr, query: &Query) -> io::Result<Option<Vec<u8>>> {
    let mut stream = TcpStream::connect(SocketAddr::new(server, PORT)).await?;
    let id = random_id()?;
    let question = query.with_id(id);
    let length = u16::try_from(question.len()).map_err(io::Error::other)?;
    stream.write_all(&[&length.to_be_bytes()[..], &question].concat()).await?;
    let length = stream.read_u16().await?;
    let mut reply = vec![0; usize::from(length)];
    stream.read_exact(&mut reply).await?;
    Ok(query.accept(id, reply))
}
