//! Limits of single block devices: `--device-read-bps` and its like.

use proto::wire::{BlockLimit, Resources};

use super::{Args, Flag, list, value};
use crate::error::Failure;

/// Flags that pods and containers share.
pub const FLAGS: &[Flag] = &[
    list("blkio-weight-device", "Block IO weight (relative device weight, format: `DEVICE_NAME:WEIGHT`)"),
    list("device-read-bps", "Limit read rate (bytes per second) from a device (e.g. --device-read-bps=/dev/sda:1mb)"),
    list("device-write-bps", "Limit write rate (bytes per second) to a device (e.g. --device-write-bps=/dev/sda:1mb)"),
];

/// Flags of containers alone.
pub const CONTAINER_FLAGS: &[Flag] = &[
    list("device-read-iops", "Limit read rate (IO per second) from a device (e.g. --device-read-iops=/dev/sda:1000)"),
    list("device-write-iops", "Limit write rate (IO per second) to a device (e.g. --device-write-iops=/dev/sda:1000)"),
];

/// Adds what `args` say to `resources`; a command without these flags says nothing.
///
/// # Errors
/// podman's words.
pub fn config(args: &Args, resources: &mut Resources) -> Result<(), Failure> {
    if !args.knows("device-read-bps") {
        return Ok(());
    }
    let all = |flag: &'static str, read: fn(&str) -> Result<u64, String>| {
        args.all(flag).iter().map(|text| limit(text, read)).collect::<Result<Vec<_>, _>>().map_err(Failure::invalid)
    };
    resources.blkio_weights = all("blkio-weight-device", weight)?;
    resources.read_bps = all("device-read-bps", bytes)?;
    resources.write_bps = all("device-write-bps", bytes)?;
    if args.knows("device-read-iops") {
        resources.read_iops = all("device-read-iops", operations)?;
        resources.write_iops = all("device-write-iops", operations)?;
    }
    Ok(())
}

/// `DEVICE:VALUE`
fn limit(text: &str, read: fn(&str) -> Result<u64, String>) -> Result<BlockLimit, String> {
    let (device, value) = match text.rsplit_once(':') {
        Some((device, value)) if !device.is_empty() => (device, value),
        _ => return Err(format!("bad format: {text}")),
    };
    if !device.starts_with("/dev/") {
        return Err(format!("bad format for device path: {text}"));
    }
    let value = read(value).map_err(|why| why.replace("{}", text))?;
    Ok(BlockLimit { device: device.to_owned(), value })
}

fn bytes(text: &str) -> Result<u64, String> {
    value::size(text).ok().and_then(|bytes| u64::try_from(bytes).ok()).ok_or_else(|| {
        "invalid rate for device: {}. The correct format is <device-path>:<number>[<unit>]. Number must be a positive integer. Unit is optional and can be kb, mb, or gb".to_owned()
    })
}

fn operations(text: &str) -> Result<u64, String> {
    text.parse().map_err(|_| {
        "invalid rate for device: {}. The correct format is <device-path>:<number>. Number must be a positive integer"
            .to_owned()
    })
}

fn weight(text: &str) -> Result<u64, String> {
    let weight = text.parse().ok().filter(|weight| (10..=1000).contains(weight));
    weight.ok_or_else(|| "invalid weight for device: {}: give a number from 10 to 1000".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_device_and_its_limit() {
        let limit = limit("/dev/sda:1mb", bytes).expect("a limit");
        assert_eq!((limit.device.as_str(), limit.value), ("/dev/sda", 1 << 20));
    }

    #[test]
    fn every_refusal_here_has_its_words() {
        for (text, read, words) in [
            ("x", bytes as fn(&str) -> _, "bad format: x"),
            (":5", bytes, "bad format: :5"),
            ("sda:5", operations, "bad format for device path: sda:5"),
            ("/dev/a:5", weight, "invalid weight for device: /dev/a:5: give a number from 10 to 1000"),
            (
                "/dev/a:-5",
                operations,
                "invalid rate for device: /dev/a:-5. The correct format is <device-path>:<number>. Number must be a positive integer",
            ),
        ] {
            assert_eq!(limit(text, read).expect_err(text), words);
        }
        let refused = limit("/dev/a:5q", bytes).expect_err("no unit");
        assert!(refused.starts_with("invalid rate for device: /dev/a:5q. The correct format is <device-path>:"));
    }
}
