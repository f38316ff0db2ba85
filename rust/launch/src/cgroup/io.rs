//! Weights and rates of block devices.
//!
//! What Docker's `--blkio-weight` and `--device-*-bps` say, in v1's units, and
//! on v2 as runc converts them (opencontainers/cgroups, fs/blkio.go,
//! fs2/io.go): a weight as it is for the BFQ scheduler, which takes it before
//! any other, and in the wider range of the kernel's own cost model.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use crate::error::{LaunchError, Step};
use crate::spec::{DeviceRate, Io};

/// A file with what is written into it.
type Writes = Vec<(&'static str, String)>;

impl Io {
    fn rates(&self) -> [(&'static str, &'static str, &[DeviceRate]); 4] {
        [
            ("rbps", "blkio.throttle.read_bps_device", &self.read_bps),
            ("wbps", "blkio.throttle.write_bps_device", &self.write_bps),
            ("riops", "blkio.throttle.read_iops_device", &self.read_iops),
            ("wiops", "blkio.throttle.write_iops_device", &self.write_iops),
        ]
    }

    /// The weights for a file that takes them as they are.
    fn weights(&self, file: &'static str, for_devices: &'static str, convert: fn(u64) -> u64) -> Writes {
        let one = self.weight.map(|weight| (file, convert(weight.into()).to_string()));
        let devices = self.weight_devices.iter().map(|device| {
            (for_devices, format!("{}:{} {}", device.major, device.minor, convert(device.weight.into())))
        });
        one.into_iter().chain(devices).collect()
    }
}

/// The sets of files that may hold the weights, the first that is there
/// being the one; then the rates.
pub(super) fn v1(io: &Io) -> (Vec<Writes>, Writes) {
    let same = |weight| weight;
    let weights = vec![
        io.weights("blkio.bfq.weight", "blkio.bfq.weight_device", same),
        io.weights("blkio.weight", "blkio.weight_device", same),
    ];
    let rates = io.rates().into_iter().flat_map(|(_, file, rates)| {
        rates.iter().map(move |rate| (file, format!("{}:{} {}", rate.major, rate.minor, rate.rate)))
    });
    (weights, rates.collect())
}

/// The same for v2: one line for each device.
pub(super) fn v2(io: &Io) -> (Vec<Writes>, Writes) {
    let weights = vec![
        io.weights("io.bfq.weight", "io.bfq.weight", |weight| weight),
        io.weights("io.weight", "io.weight", wider),
    ];
    let mut lines: BTreeMap<(u32, u32), String> = BTreeMap::new();
    for (name, _, rates) in io.rates() {
        for rate in rates {
            let line =
                lines.entry((rate.major, rate.minor)).or_insert_with(|| format!("{}:{}", rate.major, rate.minor));
            let _infallible = write!(line, " {name}={}", rate.rate);
        }
    }
    (weights, lines.into_values().map(|line| ("io.max", line)).collect())
}

/// Writes them. `put` sets one file of the group's.
pub(super) fn set(
    weights: Vec<Writes>,
    rates: Writes,
    mut put: impl FnMut(&str, &str) -> Result<(), i32>,
) -> Result<(), LaunchError> {
    let failed = |file: &str, value: &str, errno| {
        let error = LaunchError::os(Step::Cgroup, format!("{file} = {value}"), errno);
        match errno {
            libc::ENODEV | libc::ENXIO => error.hint("there is no whole disk with this number (a partition is none)"),
            libc::EOPNOTSUPP | libc::EINVAL if file.contains("weight") => {
                error.hint("the scheduler of this device has no weights (BFQ has: /sys/block/*/queue/scheduler)")
            }
            _ => error,
        }
    };
    let mut missing = None;
    for writes in weights {
        missing = None;
        for (file, value) in writes {
            match put(file, &value) {
                Ok(()) => {}
                Err(libc::ENOENT) => {
                    missing = Some(file);
                    break;
                }
                Err(errno) => return Err(failed(file, &value, errno)),
            }
        }
        if missing.is_none() {
            break;
        }
    }
    if let Some(file) = missing {
        return Err(LaunchError::os(Step::Cgroup, file, libc::ENOENT)
            .hint("this kernel weighs no block devices: it has neither the BFQ scheduler nor a cost model (iocost)"));
    }
    for (file, value) in rates {
        put(file, &value).map_err(|errno| failed(file, &value, errno))?;
    }
    Ok(())
}

/// 10 to 1,000 as 1 to 10,000 (`ConvertBlkIOToIOWeightValue`).
fn wider(weight: u64) -> u64 {
    1 + weight.saturating_sub(10) * 9_999 / 990
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spec::DeviceWeight;

    fn io() -> Io {
        let rate = |minor, rate| DeviceRate { major: 8, minor, rate };
        Io {
            weight: Some(500),
            weight_devices: vec![DeviceWeight { major: 8, minor: 0, weight: 1000 }],
            read_bps: vec![rate(0, 1 << 20), rate(16, 5)],
            write_iops: vec![rate(0, 70)],
            ..Io::default()
        }
    }

    #[test]
    fn weights_convert_at_both_ends() {
        assert_eq!([10, 500, 1000].map(wider), [1, 4950, 10_000]);
    }

    #[test]
    fn version_2_has_a_line_for_each_device() {
        let (weights, rates) = v2(&io());
        assert_eq!(weights[0], [("io.bfq.weight", "500".to_owned()), ("io.bfq.weight", "8:0 1000".into())]);
        assert_eq!(weights[1], [("io.weight", "4950".to_owned()), ("io.weight", "8:0 10000".into())]);
        assert_eq!(rates, [("io.max", "8:0 rbps=1048576 wiops=70".to_owned()), ("io.max", "8:16 rbps=5".into())]);
    }

    #[test]
    fn version_1_has_a_file_for_each_kind() {
        let (weights, rates) = v1(&io());
        assert_eq!(weights[1], [("blkio.weight", "500".to_owned()), ("blkio.weight_device", "8:0 1000".into())]);
        let read = "blkio.throttle.read_bps_device";
        let write = "blkio.throttle.write_iops_device";
        assert_eq!(rates, [(read, "8:0 1048576".to_owned()), (read, "8:16 5".into()), (write, "8:0 70".into())]);
    }
}
