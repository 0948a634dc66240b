//! Limits of block I/O: weights, and rates of single devices.

use std::{
    fs,
    os::unix::fs::{FileTypeExt, MetadataExt},
    path::Path,
};

use nix::sys::stat::{major, minor};
use proto::{Refusal, refusal::Result, wire::Resources};

use super::{hierarchy::Hierarchy, limits::Setting};

/// What of `limits` is about block I/O.
pub(super) fn only(limits: &Resources) -> Resources {
    Resources {
        blkio_weight: limits.blkio_weight,
        blkio_weights: limits.blkio_weights.clone(),
        read_bps: limits.read_bps.clone(),
        write_bps: limits.write_bps.clone(),
        read_iops: limits.read_iops.clone(),
        write_iops: limits.write_iops.clone(),
        ..Default::default()
    }
}

/// The settings of these.
///
/// # Errors
/// For a path that is no block device, naming the flag.
pub(super) fn settings(limits: &Resources) -> Result<Vec<Setting>> {
    let mut all = Vec::new();
    if limits.blkio_weight > 0 {
        all.push(Setting {
            flag: format!("--blkio-weight {}", limits.blkio_weight),
            controller: "blkio",
            v1: Some(("blkio.weight", limits.blkio_weight.to_string())),
            v2: Some(("io.weight", limits.blkio_weight.to_string())),
        });
    }
    // Flag, file of v1, file and key of v2.
    for (flag, limits, v1, v2, key) in [
        ("blkio-weight-device", &limits.blkio_weights, "blkio.weight_device", "io.weight", ""),
        ("device-read-bps", &limits.read_bps, "blkio.throttle.read_bps_device", "io.max", "rbps="),
        ("device-write-bps", &limits.write_bps, "blkio.throttle.write_bps_device", "io.max", "wbps="),
        ("device-read-iops", &limits.read_iops, "blkio.throttle.read_iops_device", "io.max", "riops="),
        ("device-write-iops", &limits.write_iops, "blkio.throttle.write_iops_device", "io.max", "wiops="),
    ] {
        for limit in limits {
            let flag = format!("--{flag} {}:{}", limit.device.escape_debug(), limit.value);
            let device = device(&limit.device).map_err(|why| Refusal::invalid(format!("{flag}: {why}")))?;
            // 0 is "no limit" of v1, and a word of its own in v2; a weight has the same word in both.
            let (of_v1, of_v2) = match (limit.value, key) {
                (0, "") => ("default".to_owned(), "default".to_owned()),
                (0, _) => ("0".to_owned(), "max".to_owned()),
                (value, _) => (value.to_string(), value.to_string()),
            };
            all.push(Setting {
                flag,
                controller: "blkio",
                v1: Some((v1, format!("{device} {of_v1}"))),
                v2: Some((v2, format!("{device} {key}{of_v2}"))),
            });
        }
    }
    Ok(all)
}

/// `MAJOR:MINOR` of the block device at `path`.
fn device(path: &str) -> std::result::Result<String, String> {
    match fs::metadata(path) {
        Ok(meta) if meta.file_type().is_block_device() => Ok(format!("{}:{}", major(meta.rdev()), minor(meta.rdev()))),
        Ok(_) => Err("not a block device".to_owned()),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Err("no such device".to_owned()),
        Err(error) => Err(error.to_string()),
    }
}

/// The file that takes a limit of blkio: `file`, or for weights that of the BFQ scheduler where the kernel has only this. The root
/// shows neither, any cgroup below it does; one is made for a moment where there is none.
pub(super) fn file(hierarchy: &Hierarchy, file: &str) -> Option<String> {
    let bfq = file.replace(".weight", ".bfq.weight");
    let among = |dir: &Path| [file, &bfq].into_iter().find(|file| dir.join(file).exists()).map(str::to_owned);
    let mut children = fs::read_dir(&hierarchy.mount).into_iter().flatten().flatten();
    if let Some(child) = children.find(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir())) {
        return among(&child.path());
    }
    let probe = hierarchy.mount.join(format!("podctl-probe-{}", std::process::id()));
    let found = fs::create_dir(&probe).ok().and_then(|()| among(&probe));
    let _ = fs::remove_dir(&probe);
    found
}

#[cfg(test)]
mod tests {
    use proto::wire::BlockLimit;

    use super::*;

    #[test]
    fn what_is_no_block_device_has_no_rate() {
        for (path, why) in [("/dev/null", "not a block device"), ("/dev/no-such", "no such device")] {
            let limit = vec![BlockLimit { device: path.into(), value: 5 }];
            let refusal = settings(&Resources { read_bps: limit, ..Default::default() }).expect_err(path);
            assert_eq!(refusal.message, format!("--device-read-bps {path}:5: {why}"));
        }
    }

    #[test]
    fn only_what_is_about_blocks_is_left() {
        let limits = Resources { memory: 5, blkio_weight: 10, pids_limit: 3, ..Default::default() };
        assert_eq!(only(&limits), Resources { blkio_weight: 10, ..Default::default() });
    }
}
