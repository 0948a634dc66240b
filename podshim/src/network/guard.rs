//! Somebody removes rules, elements of sets or links under a pod that is up (`nft flush ruleset`, a firewall's reload,
//! `ip link del`): it is told, and [`mend`](super::mend()) puts them back.
//!
//! The kernel tells of every change of nf_tables and of every link. A filter on each socket lets only removals wake us, so
//! a shim sleeps while other pods come; while others go it looks at who they are.

use std::{
    io,
    os::fd::{AsRawFd, OwnedFd},
    sync::Arc,
    time::Duration,
};

use nix::{
    errno::Errno,
    sys::socket::{AddressFamily, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType, bind, recv, socket},
};
use proto::{Id, record::NetworkStatus};
use tokio::{io::unix::AsyncFd, sync::Notify, task::JoinHandle};

use super::{Networks, nft};
use crate::sys;

/// Multicast groups, as bits: of nf_tables (`NFNLGRP_NFTABLES`) and of links (`RTNLGRP_LINK`).
const RULES: u32 = 1 << (libc::NFNLGRP_NFTABLES - 1);
const LINKS: u32 = 1 << (libc::RTNLGRP_LINK - 1);
/// What goes at once is told in several messages.
const PAUSE: Duration = Duration::from_millis(100);
/// The kernel's messages of this kind are shorter (`NLMSG_GOODSIZE`); of a longer one we see the beginning.
const LONGEST: usize = 8 << 10;

/// Guards the network of a pod for as long as it lives.
#[derive(Debug)]
pub struct Guard(JoinHandle<()>);

impl Drop for Guard {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Guards the network of `pod`, which is up and has `status`: `lost` is notified when something of it may have gone. Needs
/// a running tokio runtime.
///
/// # Errors
/// When the kernel has no nf_tables, or does not tell of it.
pub fn guard(networks: &Networks, pod: &Id, status: &[NetworkStatus], lost: Arc<Notify>) -> io::Result<Guard> {
    let rules = sys::fd::watch(listen(SockProtocol::NetlinkNetFilter, RULES, &nft::REMOVALS.map(nft::kind))?)?;
    let links = sys::fd::watch(listen(SockProtocol::NetlinkRoute, LINKS, &[libc::RTM_DELLINK])?)?;
    let (elements, devices) = signs(networks, pod, status);
    Ok(Guard(tokio::spawn(async move {
        let of_rules = |message: &[u8]| !is_of_elements(message) || elements.iter().any(|sign| contains(message, sign));
        let of_links = |message: &[u8]| devices.iter().any(|sign| contains(message, sign));
        loop {
            let concerned = tokio::select! {
                concerned = heard(&rules, of_rules) => concerned,
                concerned = heard(&links, of_links) => concerned,
            };
            match concerned {
                Ok(false) => continue,
                Ok(true) => {}
                Err(_) => return,
            }
            tokio::time::sleep(PAUSE).await;
            // Whatever has come meanwhile is seen by whoever looks now.
            drain(rules.get_ref(), |_| false);
            drain(links.get_ref(), |_| false);
            lost.notify_one();
        }
    })))
}

/// What messages that concern the pod have in them: the comments of its elements and its networks', the names of its links.
fn signs(networks: &Networks, pod: &Id, status: &[NetworkStatus]) -> (Vec<Vec<u8>>, Vec<Vec<u8>>) {
    let mut elements = vec![pod.as_str().as_bytes().to_vec()];
    let mut devices = Vec::new();
    for status in status {
        elements.push(super::firewall::of_network(&status.network).into_bytes());
        let bridge = networks.get(&status.network).ok().map(|network| network.interface);
        for name in [Some(status.host_interface.clone()), bridge].into_iter().flatten() {
            devices.push([name.as_bytes(), b"\0"].concat());
        }
    }
    (elements, devices)
}

fn listen(protocol: SockProtocol, group: u32, kinds: &[u16]) -> io::Result<OwnedFd> {
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    let fd = socket(AddressFamily::Netlink, SockType::Raw, flags, protocol)?;
    sys::fd::filter_netlink(&fd, kinds)?;
    bind(fd.as_raw_fd(), &NetlinkAddr::new(0, group))?;
    Ok(fd)
}

/// Waits for messages; whether one of them concerns us.
async fn heard(socket: &AsyncFd<OwnedFd>, concerns: impl Fn(&[u8]) -> bool) -> io::Result<bool> {
    let mut ready = socket.readable().await?;
    let concerned = drain(socket.get_ref(), concerns);
    ready.clear_ready();
    Ok(concerned)
}

/// Reads what has come. What was lost may have concerned us, and so may what is longer than we read.
fn drain(fd: &OwnedFd, concerns: impl Fn(&[u8]) -> bool) -> bool {
    let mut buffer = [0; LONGEST];
    let mut any = false;
    loop {
        match recv(fd.as_raw_fd(), &mut buffer, MsgFlags::MSG_TRUNC) {
            Ok(length) => any |= buffer.get(..length).is_none_or(&concerns),
            Err(Errno::ENOBUFS) => any = true,
            Err(Errno::EINTR) => {}
            Err(_) => return any,
        }
    }
}

/// Whether the first of a datagram tells of elements: each removal of a pod does, and only some concern us.
fn is_of_elements(message: &[u8]) -> bool {
    message.get(4..6).is_some_and(|kind| kind == nft::kind(nft::ELEMENTS_GONE).to_ne_bytes())
}

fn contains(message: &[u8], sign: &[u8]) -> bool {
    memchr::memmem::find(message, sign).is_some()
}
