//! The raw socket of a shim: clients deposit descriptors under a token for the request that names it.

use std::{
    io,
    os::fd::{AsFd, AsRawFd, OwnedFd},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use nix::sys::socket::{SockFlag, accept4};
use proto::{
    raw::{ACK, DEPOSIT, Deposits, MAX_PACKET, NAK, Raw},
    socket,
};

/// Where requests take what clients have deposited.
pub type Shared = Arc<Mutex<Deposits>>;

/// Takes what is deposited under `token`; no token, no descriptors.
pub fn take(deposits: &Shared, token: &str) -> Vec<OwnedFd> {
    if token.is_empty() {
        return Vec::new();
    }
    deposits.lock().unwrap_or_else(PoisonError::into_inner).take(token)
}

/// Serves connections of the listening socket until the runtime ends.
///
/// # Errors
/// When the reactor refuses the socket.
pub fn listen(socket: OwnedFd, deposits: &Shared) -> io::Result<()> {
    let listener = crate::sys::fd::watch(socket)?;
    let deposits = deposits.clone();
    tokio::spawn(async move {
        loop {
            let accepted = listener
                .async_io(tokio::io::Interest::READABLE, |listener| {
                    Ok(accept4(listener.as_raw_fd(), SockFlag::SOCK_CLOEXEC)?)
                })
                .await;
            match accepted.map(crate::sys::fd::received) {
                Ok(connection) if socket::peer_is_allowed(connection.as_fd()) => serve(connection, &deposits),
                Ok(_) => {}
                // Out of descriptors: whoever closes one makes room.
                Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
            }
        }
    });
    Ok(())
}

/// Serves one connection in a task of its own.
pub fn serve(connection: OwnedFd, deposits: &Shared) {
    let deposits = deposits.clone();
    let Ok(raw) = Raw::new(connection) else { return };
    tokio::spawn(async move {
        let mut tokens: Vec<String> = Vec::new();
        let mut buffer = vec![0u8; MAX_PACKET.min(4096)];
        while let Ok((length, fds)) = raw.receive(&mut buffer).await {
            if length == 0 {
                break;
            }
            let answer = match buffer[..length].split_first() {
                Some((&DEPOSIT, token)) => deposit(&deposits, &mut tokens, token, fds),
                _ => Err("this socket takes deposits only"),
            };
            let packet = match answer {
                Ok(()) => vec![ACK],
                Err(words) => [&[NAK], words.as_bytes()].concat(),
            };
            if raw.send(&packet, &[]).await.is_err() {
                break;
            }
        }
        for token in tokens {
            drop(take(&deposits, &token));
        }
    });
}

fn deposit(deposits: &Shared, tokens: &mut Vec<String>, token: &[u8], fds: Vec<OwnedFd>) -> Result<(), &'static str> {
    let token = std::str::from_utf8(token).ok().filter(|token| (1..=64).contains(&token.len())).ok_or("bad token")?;
    if !tokens.iter().any(|known| known == token) {
        tokens.push(token.to_owned());
    }
    deposits.lock().unwrap_or_else(PoisonError::into_inner).add(token, fds)
}
