//! The journal's native protocol (systemd.io/JOURNAL_NATIVE_PROTOCOL): an entry is a datagram of fields.

use std::{io, os::unix::net::UnixDatagram, path::Path};

/// Adds a field to `entry`: in a line where that is possible, else with its length.
pub fn field(entry: &mut Vec<u8>, name: &str, value: &[u8]) {
    entry.extend_from_slice(name.as_bytes());
    if value.contains(&b'\n') {
        entry.push(b'\n');
        entry.extend_from_slice(&(value.len() as u64).to_le_bytes());
    } else {
        entry.push(b'=');
    }
    entry.extend_from_slice(value);
    entry.push(b'\n');
}

/// Sends one entry to the journal at `socket`, and does not wait for one that is full.
///
/// # Errors
/// `NotFound` where there is no journal, `WouldBlock` where it takes nothing now.
pub fn send(socket: &Path, entry: &[u8]) -> io::Result<()> {
    let journal = UnixDatagram::unbound()?;
    journal.set_nonblocking(true)?;
    journal.send_to(entry, socket).map(drop)
}
