//! One attach session: frames both ways until one side has enough.

use std::{io, os::fd::AsFd, rc::Rc, time::Duration};

use prost::Message;
use proto::{
    frame::{Attach, Frame, Kind},
    raw::{ACK, MAX_PACKET, NAK, Raw},
};
use tokio::time::timeout;

use super::{
    Client, Delivery,
    behind::{Behind, Next},
};
use crate::{log::Identity, stdio::Stdio};

/// Bytes that wait in the socket of a client: those of several batches, so that it and we take turns less often.
const QUEUE: usize = 512 << 10;
/// How long a client that has got everything may take to close its side.
const FAREWELL: Duration = Duration::from_secs(1);

/// Serves the client behind `raw` until it or the container has ended.
pub async fn serve(raw: Raw, request: Attach, stdio: &Rc<Stdio>) {
    let delivery = match first_delivery(&request, stdio) {
        Some(behind) => Delivery::Behind(Box::new(behind)),
        None => Delivery::Live,
    };
    let client = Rc::new(Client {
        raw,
        output: request.output,
        lossless: request.lossless,
        delivery: delivery.into(),
        wake: tokio::sync::Notify::new(),
    });
    let added = if stdio.passes_through() && (request.output || request.stdin) {
        Err("this container is using the 'passthrough' log driver, cannot attach: this container is not logging output")
    } else {
        stdio.clients().add(client.clone())
    };
    // The acknowledgement is the first packet: it is sent before the first batch can be.
    if let Err(words) = added {
        let packet = [&[NAK], words.as_bytes()].concat();
        // It has gone: then nobody needs to know.
        let _ = client.raw.try_send(&packet);
        return;
    }
    if request.output {
        client.raw.widen(QUEUE);
    }
    let fifo = stdio.stdin().fifo().filter(|_| request.stdin && request.direct);
    let acknowledged = match &fifo {
        Some(fifo) => client.raw.try_send_with(&[ACK], &[fifo.get_ref().as_fd()]),
        None => client.raw.try_send(&[ACK]),
    };
    // It is the client's, and its end is not ours to wait for.
    let direct = fifo.is_some();
    drop(fifo);
    if acknowledged.is_ok() {
        let gone = tokio::select! {
            () = receive(&client, &request, stdio) => true,
            result = deliver(&client, stdio) => result.is_err(),
            never = tell_end(&client, stdio), if direct => match never {},
        };
        if !gone {
            farewell(&client).await;
        } else if request.lossless && request.stdin {
            // Without its terminal nobody will ever say that stdin has ended.
            stdio.stdin().end();
        }
    }
    stdio.clients().remove(&client);
}

/// Where a lossless client begins: at the first byte of this run.
fn first_delivery(request: &Attach, stdio: &Stdio) -> Option<Behind> {
    let ledger = stdio.output().ledger();
    let ledger = ledger.as_ref().filter(|ledger| ledger.is_exact())?;
    let place = ledger.place();
    let live = !request.lossless || !request.output || place.offset == [0; 2];
    let log = Identity { inode: place.run_log, ..ledger.sink().identity() };
    (!live).then(|| Behind::from_start(log, place.run_start))
}

/// Tells a client that has the FIFO when another has ended stdin: it must close it, too.
async fn tell_end(client: &Client, stdio: &Stdio) -> std::convert::Infallible {
    stdio.stdin().ended().await;
    let packet = Frame { kind: Kind::StdinEnd, offset: 0, payload: &[] }.encode();
    // Who has gone has closed it.
    let _ = client.raw.send(&packet, &[]).await;
    std::future::pending().await
}

/// Client → container, until the client has gone.
async fn receive(client: &Client, request: &Attach, stdio: &Stdio) {
    while client.raw.readable().await.is_ok() {
        // Who sends nothing has no buffer.
        let mut buffer = vec![0; MAX_PACKET];
        loop {
            let length = match client.raw.try_receive(&mut buffer) {
                Ok((length @ 1.., _fds)) => length,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Ok(_) | Err(_) => return,
            };
            match Frame::decode(&buffer[..length]) {
                Some(frame) if take(&frame, request, stdio).await => {}
                _ => return,
            }
            // A client that sends without end is not alone.
            tokio::task::yield_now().await;
        }
    }
}

/// Does what a frame of a client asks for; false for one that no client sends.
async fn take(frame: &Frame<'_>, request: &Attach, stdio: &Stdio) -> bool {
    match frame.kind {
        Kind::Stdin if request.stdin => stdio.stdin().write(frame.payload).await,
        Kind::StdinEnd if request.stdin => stdio.stdin().end(),
        Kind::Resize => {
            if let [rows_low, rows_high, columns_low, columns_high] = *frame.payload {
                let rows = u16::from_le_bytes([rows_low, rows_high]);
                let columns = u16::from_le_bytes([columns_low, columns_high]);
                stdio.resize(rows, columns);
            }
        }
        // Stdin that was not announced.
        Kind::Stdin | Kind::StdinEnd => {}
        Kind::Stdout | Kind::Stderr | Kind::Skipped | Kind::Exit | Kind::Closed => return false,
    }
    true
}

/// Container → client whenever the client is not live, and at the end.
///
/// # Errors
/// When the client has gone.
async fn deliver(client: &Client, stdio: &Stdio) -> io::Result<()> {
    loop {
        match catch_up(client, stdio)? {
            Progress::Live => {
                if let Some(exit) = stdio.clients().exit() {
                    let payload = exit.encode_to_vec();
                    let packet = Frame { kind: Kind::Exit, offset: 0, payload: &payload }.encode();
                    return client.raw.send(&packet, &[]).await;
                }
                client.wake.notified().await;
            }
            Progress::Full => client.raw.writable().await?,
            Progress::More => tokio::task::yield_now().await,
        }
    }
}

/// How far [`catch_up`] has come.
enum Progress {
    /// The client is live.
    Live,
    /// Its socket is full.
    Full,
    /// It reads as fast as we send, and others want to be served too.
    More,
}

/// Packets sent in one go.
const BURST: usize = 16;

/// Sends what the client lacks.
fn catch_up(client: &Client, stdio: &Stdio) -> io::Result<Progress> {
    let mut delivery = client.delivery.borrow_mut();
    for _ in 0..BURST {
        let next = match &mut *delivery {
            Delivery::Live => return Ok(Progress::Live),
            Delivery::Skipping(bytes) => {
                let payload = bytes.to_le_bytes();
                let packet = Frame { kind: Kind::Skipped, offset: 0, payload: &payload }.encode();
                if !try_send(client, &packet)? {
                    return Ok(Progress::Full);
                }
                Delivery::Live
            }
            Delivery::Waiting(packets) => {
                while let Some(packet) = packets.first() {
                    if !try_send(client, packet)? {
                        return Ok(Progress::Full);
                    }
                    packets.remove(0);
                }
                Delivery::Live
            }
            Delivery::Behind(behind) => {
                let log = behind.log();
                let next = match stdio.output().ledger().as_ref() {
                    Some(ledger) => behind.next(ledger),
                    None => Next::CaughtUp,
                };
                if behind.log() != log {
                    // The file it has read may be dropped.
                    stdio.clients().changed.notify_waiters();
                }
                match next {
                    Next::CaughtUp => Delivery::Live,
                    Next::Lost(bytes) => Delivery::Skipping(bytes),
                    Next::Packet => {
                        if let Some(packet) = behind.packet()
                            && !try_send(client, packet)?
                        {
                            return Ok(Progress::Full);
                        }
                        behind.sent();
                        continue;
                    }
                }
            }
        };
        *delivery = next;
        stdio.clients().changed.notify_waiters();
    }
    Ok(Progress::More)
}

fn try_send(client: &Client, packet: &[u8]) -> io::Result<bool> {
    match client.raw.try_send(packet) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(false),
        Err(error) => Err(error),
    }
}

/// Reads what the client still sends until it closes: closing with unread packets would make the kernel throw away what
/// the client has not read yet (ECONNRESET).
async fn farewell(client: &Client) {
    let mut buffer = vec![0; MAX_PACKET];
    let drained = async { while client.raw.receive(&mut buffer).await.is_ok_and(|(length, _)| length > 0) {} };
    // Past the deadline it is the client's loss.
    let _ = timeout(FAREWELL, drained).await;
}
