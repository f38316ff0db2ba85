//! How many launches a second the core makes with N processes in flight, and
//! where the time goes: `rate ROOTFS COUNT PROCESSES`. The floor for it is
//! `bench/floor`.
use std::io::Write;

#[path = "../tests/common/mod.rs"]
#[allow(missing_docs)]
mod common;

use ardock_launch::{launch, seccomp, Parent, Slots, Stream};

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    let [_, rootfs, count, processes] = arguments.as_slice() else {
        eprintln!("usage: rate ROOTFS COUNT PROCESSES");
        std::process::exit(2);
    };
    let (count, processes): (usize, usize) = (count.parse().unwrap(), processes.parse().unwrap());
    let program = seccomp::compile(seccomp::Profile::docker_default(), common::DOCKER_CAPS, (6, 1)).unwrap();
    let mut bench = common::Bench::on(common::Folder::new(), rootfs.into(), vec![]);
    bench.programs.insert(program.hash(), program.as_bytes()).unwrap();
    let start = std::time::Instant::now();
    let mut children = Vec::new();
    for number in 0..processes {
        #[allow(unsafe_code)]
        // SAFETY: the one other thread waits for the folder's end.
        let pid = unsafe { libc::fork() };
        if pid == 0 {
            let slots = Slots::map(1).unwrap();
            let mut sums = [0u64; 10];
            for turn in 0..count / processes {
                let mut spec = bench.spec(&["/bin/true"]);
                if let Some(group) = &mut spec.cgroup {
                    group.name = format!("r{number}x{turn}");
                }
                spec.stdio.stdout = Stream::NULL;
                spec.stdio.stderr = Stream::NULL;
                spec.process.seccomp = Some(program.hash().to_owned());
                let l = launch(&bench.home, &bench.programs, &spec, &[], &slots[0], Parent::Caller)
                    .unwrap_or_else(|failure| panic!("{}", failure.error));
                let code = common::wait(l.pid);
                assert_eq!(code, 0);
                drop(l.mount_ns);
                common::clean_soon(&bench.home, &spec);
                let t = l.timings;
                for (sum, part) in sums
                    .iter_mut()
                    .zip([t.prepare, t.cgroup, t.stdio, t.clone, t.join, t.root, t.mounts, t.process, t.exec, t.total])
                {
                    *sum += u64::from(part);
                }
            }
            if number == 0 {
                let n = (count / processes) as u64;
                let names =
                    ["prepare", "cgroup", "stdio", "clone", "join", "root", "mounts", "process", "exec", "total"];
                for (name, sum) in names.iter().zip(sums) {
                    print!("{name} {} ", sum / n);
                }
                println!("us");
                let _ = std::io::stdout().flush();
            }
            std::process::exit(0);
        }
        children.push(pid);
    }
    for child in children {
        common::wait(child);
    }
    let wall = start.elapsed().as_secs_f64();
    println!("{:.0} launches/s", f64::from(u32::try_from(count).unwrap()) / wall);
}
