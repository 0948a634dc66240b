//! Somebody removes the rules under a pod that is up (`nft flush ruleset`, a firewall's reload): they come back.
//!
//! The kernel tells of every change of nf_tables. A filter on the socket lets only removals of tables, chains and rules
//! wake us, so a shim sleeps while other pods come and go. Whoever wakes first makes the table anew with the shares of all
//! pods that are up; the others find it whole.

use std::{
    io,
    os::fd::{AsRawFd, OwnedFd},
    time::Duration,
};

use nix::{
    errno::Errno,
    sys::socket::{AddressFamily, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType, bind, recv, socket},
};
use proto::Id;
use tokio::task::JoinHandle;

use super::{Networks, bring_up, nft, worker};
use crate::sys;

/// Multicast group of nf_tables (`NFNLGRP_NFTABLES`), as a bit.
const GROUP: u32 = 1 << (libc::NFNLGRP_NFTABLES - 1);
/// What is flushed at once is told in several messages.
const PAUSE: Duration = Duration::from_millis(100);

/// Guards the rules of a pod for as long as it lives.
#[derive(Debug)]
pub struct Guard(JoinHandle<()>);

impl Drop for Guard {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Guards the rules of `pod`, which is up. Needs a running tokio runtime.
///
/// # Errors
/// When the kernel has no nf_tables, or does not tell of it.
pub fn guard(networks: &Networks, pod: &Id) -> io::Result<Guard> {
    let changes = sys::fd::watch(listen()?)?;
    let (networks, pod) = (networks.clone(), pod.clone());
    Ok(Guard(tokio::spawn(async move {
        loop {
            let Ok(mut ready) = changes.readable().await else { return };
            drain(changes.get_ref());
            ready.clear_ready();
            tokio::time::sleep(PAUSE).await;
            drain(changes.get_ref());
            let (networks, pod) = (networks.clone(), pod.clone());
            let healed = worker::on_thread("network rules", move || bring_up::heal(&networks, &pod)).await;
            match healed {
                Ok(true) => tracing::warn!("somebody has removed the firewall rules of podctl: they are back"),
                Ok(false) => {}
                Err(refusal) => tracing::error!("the firewall rules are gone: {refusal}"),
            }
        }
    })))
}

fn listen() -> io::Result<OwnedFd> {
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    let fd = socket(AddressFamily::Netlink, SockType::Raw, flags, SockProtocol::NetlinkNetFilter)?;
    sys::fd::filter_netlink(&fd, &nft::REMOVALS.map(nft::kind))?;
    bind(fd.as_raw_fd(), &NetlinkAddr::new(0, GROUP))?;
    Ok(fd)
}

/// Reads what has come. What it says does not matter, nor whether some of it was lost.
fn drain(fd: &OwnedFd) {
    let mut buffer = [0; 1024];
    loop {
        match recv(fd.as_raw_fd(), &mut buffer, MsgFlags::MSG_TRUNC) {
            Ok(_) | Err(Errno::EINTR | Errno::ENOBUFS) => {}
            Err(_) => return,
        }
    }
}
