//! How many containers a second a keeper starts and ends, alone, for a client
//! that does nothing else: `rate BINARY [COUNT] [IN_FLIGHT] [HOLD_MS] [null|pipe] [PROGRAM]`.
//! With the floor's own program (`target/bench/program`) the job is the floor's.
#![allow(missing_docs)]

#[path = "../tests/common/mod.rs"]
mod common;

use std::path::PathBuf;
use std::time::{Duration, Instant};

use ardock_keeper::message::{Output, Reply, Request};
use ardock_launch::{File, Stream, Timings};
use rustix::event::PollFlags;

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    let number = |at: usize, default: u32| arguments.get(at).map_or(default, |text| text.parse().unwrap());
    let (count, in_flight, hold) = (number(2, 1000), number(3, 32), number(4, 5));
    let pipe = arguments.get(5).is_some_and(|word| word == "pipe");
    let bench = common::Bench::start(&PathBuf::from(&arguments[1]));
    let mut engine = bench.connect();
    let seccomp = engine.prepare(&bench);
    let program = arguments.get(6).map_or("/bin/busybox", String::as_str);
    std::fs::copy(program, bench.folder.join("rootfs/bin/program")).unwrap();
    let name = if program.ends_with("busybox") { "/bin/true" } else { "/bin/program" };
    for file in ["hosts", "hostname", "resolv.conf"] {
        std::fs::write(bench.folder.join("rootfs/etc").join(file), "").unwrap();
    }
    let make = |number: u32| {
        let id = format!("c{number}");
        let mut spec = bench.spec(&id, &[name]);
        spec.process.seccomp = Some(seccomp.clone());
        spec.files = ["/etc/hosts", "/etc/hostname", "/etc/resolv.conf"]
            .map(|target| File { target: target.into(), content: b"127.0.0.1\tlocalhost\n".to_vec().into() })
            .to_vec();
        spec.stdio = common::stdio(if pipe { Stream::PIPE } else { Stream::NULL });
        let mut launch =
            common::launch(u64::from(number), &id, &spec, Output { capture: Some(4096), ..Output::default() });
        if let Request::Launch { hold_ms, .. } = &mut launch {
            *hold_ms = hold;
        }
        common::encode(&[launch])
    };
    // Encoded beforehand: it is the keeper that is measured.
    let packets: Vec<Vec<u8>> = (0..count).map(make).collect();
    let mut sent = vec![Instant::now(); count as usize];
    let (mut next, mut ended, mut apart, mut received) = (0, 0, 0, 0);
    let mut latencies = Vec::new();
    let mut sum = Timings::default();
    let start = Instant::now();
    let mut acks = Vec::new();
    while ended < count {
        while next < count && next - ended < in_flight {
            sent[next as usize] = Instant::now();
            engine.send_bytes(&packets[next as usize], &[]);
            next += 1;
        }
        assert!(engine.wait(PollFlags::IN, Duration::from_secs(20)), "nothing comes");
        received += engine.take();
        while let Some((reply, _)) = engine.replies.pop_front() {
            let started = match reply {
                Reply::Started { started, .. } => {
                    apart += 1;
                    Some(started)
                }
                Reply::Ended { id, started, exit, .. } => {
                    assert_eq!(exit.code, 0);
                    let number: usize = id[1..].parse().unwrap();
                    latencies.push(sent[number].elapsed());
                    ended += 1;
                    acks.push((id, None));
                    started
                }
                other => panic!("{other:?}"),
            };
            if let Some(started) = started {
                let t = started.timings;
                for (sum, one) in [
                    (&mut sum.queue, t.queue),
                    (&mut sum.prepare, t.prepare),
                    (&mut sum.cgroup, t.cgroup),
                    (&mut sum.stdio, t.stdio),
                    (&mut sum.clone, t.clone),
                    (&mut sum.join, t.join),
                    (&mut sum.root, t.root),
                    (&mut sum.mounts, t.mounts),
                    (&mut sum.process, t.process),
                    (&mut sum.exec, t.exec),
                    (&mut sum.total, t.total),
                ] {
                    *sum += one;
                }
            }
        }
        engine.send(&[Request::Ack { ids: std::mem::take(&mut acks) }], &[]);
    }
    let took = start.elapsed().as_secs_f64();
    latencies.sort();
    let at = |part: usize| latencies[(latencies.len() - 1) * part / 100];
    println!(
        "{count} launches, {in_flight} in flight: {:.0}/s, p50 {:.2?}, p99 {:.2?}, {apart} starts told apart, {received} packets",
        f64::from(count) / took,
        at(50),
        at(99),
    );
    let mean = |sum: u32| sum / count;
    println!(
        "mean µs: queue {} prepare {} cgroup {} stdio {} clone {} join {} root {} mounts {} process {} exec {} total {}",
        mean(sum.queue), mean(sum.prepare), mean(sum.cgroup), mean(sum.stdio), mean(sum.clone), mean(sum.join),
        mean(sum.root), mean(sum.mounts), mean(sum.process), mean(sum.exec), mean(sum.total),
    );
    for name in ["wakeups", "packets", "launchers", "dying", "given_up", "journal_bytes", "write_errors"] {
        print!("{name} {} ", engine.counter(name));
    }
    println!();
}
